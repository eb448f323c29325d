"""Write the labels of frames as a COCO annotation file, a table at a time, so memory does not grow with the frames.

    with CocoWriter(folder / "test.coco.json", height=96, width=128) as writer:
        writer.write(table)

Image n is row n of the Parquet file, from 1, and class n is category n, from 1, as in a verdict's
`detections.json`: the two can be compared by any tool that reads COCO.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from sim2edge.recipes.perception_names import CLASSES

SIDES = ("x_min", "y_min", "x_max", "y_max")
ABOUT_BOX = ("distance_m", "bearing_rad")
ABOUT_FRAME = ("episode_id", "frame", "time_s", "drive", "floor", "augmentation")
"""Columns that an image of the file has as extra fields, if the frames have them."""


def name_image(row: dict[str, Any], number: int) -> str:
    """Return the file name of a frame: `<episode>/<frame>.jpg`; an augmented copy has its row's number besides."""
    copy = f".{number}" if row.get("augmentation") else ""
    return f"{row['episode_id']}/{row['frame']:06d}{copy}.jpg"


def image_of(row: dict[str, Any], number: int, height: int, width: int) -> dict[str, Any]:
    """Return the entry of `images` for a row."""
    extra = {name: row[name] for name in ABOUT_FRAME if row.get(name) not in (None, "")}
    return {"id": number, "file_name": name_image(row, number), "height": height, "width": width, **extra}


def annotation_of(box: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Return what an entry of `annotations` says of a box in an image of `size` (height, width), in pixels."""
    height, width = size
    left, top, right, bottom = (box[side] for side in SIDES)
    wide, high = (right - left) * width, (bottom - top) * height
    return {
        "bbox": [left * width, top * height, wide, high],
        "area": wide * high,
        "iscrowd": 0,
        **{name: box[name] for name in ABOUT_BOX if box[name] is not None},
    }


class CocoWriter:
    """Writes one annotation file: the images at once, their annotations behind them at the end."""

    def __init__(self, path: Path, height: int, width: int, classes: Sequence[str] = CLASSES) -> None:
        self._size = height, width
        self._numbers = {name: number for number, name in enumerate(classes, 1)}
        self._images = 0
        self._boxes = 0
        self._file = path.open("w", encoding="utf-8")
        self._annotations = tempfile.TemporaryFile("w+", dir=path.parent, encoding="utf-8")  # noqa: SIM115
        categories = [{"id": number, "name": name} for name, number in self._numbers.items()]
        head = {"info": {"description": "sim2edge frames", "version": "1"}, "licenses": [], "categories": categories}
        self._file.write(json.dumps(head)[:-1] + ', "images": [')

    def __enter__(self) -> Self:
        return self

    def write(self, table: pa.Table) -> None:
        """Add the rows of a table of frames; the column `image` is not needed."""
        names = [name for name in (*ABOUT_FRAME, "boxes") if name in table.column_names]
        for row in table.select(names).to_pylist():
            self._images += 1
            entry = image_of(row, self._images, *self._size)
            self._file.write(_after(self._images) + json.dumps(entry, allow_nan=False))
            for box in row["boxes"]:
                self._boxes += 1
                numbers = {"id": self._boxes, "image_id": self._images, "category_id": self._numbers[box["class"]]}
                annotation = numbers | annotation_of(box, self._size)
                self._annotations.write(_after(self._boxes) + json.dumps(annotation, allow_nan=False))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file, self._annotations:
            if kind is None:
                self._annotations.seek(0)
                self._file.write('\n], "annotations": [')
                shutil.copyfileobj(self._annotations, self._file)
                self._file.write("\n]}\n")


def _after(count: int) -> str:
    return "\n" if count == 1 else ",\n"


def name_images(table: pa.Table, first: int) -> Iterator[str]:
    """Yield the file names of the rows of a table, whose first row is row `first` of its file, from 1."""
    names = [name for name in ("episode_id", "frame", "augmentation") if name in table.column_names]
    for number, row in enumerate(table.select(names).to_pylist(), first):
        yield name_image(row, number)
