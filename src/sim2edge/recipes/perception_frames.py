"""Read one split of a dataset into memory: decoded images and their labels.

    table = DatasetTable.read(artifact.path("dataset.json"))
    frames = read_frames(artifact.path("test.parquet"), table)

36 kB a frame at 96x128: a hundred thousand frames need 3.7 GB.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sim2edge.errors import BadInput
from sim2edge.recipes.perception import Floats, Integers, grid_shapes

COLUMNS = ("episode_id", "frame", "image", "floor", "boxes")


@dataclass(frozen=True)
class DatasetTable:
    """The content of a dataset's `dataset.json`."""

    classes: tuple[str, ...]
    floors: tuple[str, ...]
    height: int
    width: int
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    class_weights: tuple[float, ...]
    """In the order of `classes`; mean 1."""

    @classmethod
    def read(cls, path: Path) -> "DatasetTable":
        """Read `dataset.json`.

        Raises:
            BadInput: it is not JSON, lacks a field, or has an invalid value.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            classes = _names(content, "classes")
            weights = np.array([float(content["class_weights"][name]) for name in classes])
            table = cls(
                classes=classes,
                floors=_names(content, "floors"),
                height=int(content["height"]),
                width=int(content["width"]),
                image_mean=_three(content["image_mean"]),
                image_std=_three(content["image_std"]),
                class_weights=tuple(float(weight) for weight in weights / weights.mean()),
            )
            grid_shapes(table.height, table.width)
        except KeyError as error:
            raise BadInput(f"{path.name}: field {error} is missing") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise BadInput(f"{path.name}: {error}") from error
        if not np.isfinite(weights).all() or weights.min() <= 0:
            raise BadInput(f"{path.name}: class_weights: expected positive numbers")
        if min(table.image_std) <= 0:
            raise BadInput(f"{path.name}: image_std: expected positive numbers")
        return table


def _names(content: Mapping[str, Any], field: str) -> tuple[str, ...]:
    names = tuple(content[field])
    for name in names:
        if names.count(name) > 1:  # the second would be learned, and counted, as a separate class
            raise ValueError(f"{field}: '{name}' is named twice")
    return names


def _three(values: Any) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3:
        raise ValueError(f"expected three channels, not {len(numbers)}")
    return numbers


@dataclass(frozen=True)
class Frames:
    """Frames in memory; the boxes of all frames are stored one after another.

    `images` [N, H, W, 3] uint8 RGB; `floors` [N]; `starts` [N + 1]: frame n has boxes `starts[n]:starts[n + 1]`;
    `boxes` [B, 4] corners as fractions of the image; `classes` [B]; `distances_m` [B], NaN if unknown; `names` [N] for
    messages.
    """

    images: npt.NDArray[np.uint8]
    floors: Integers
    starts: Integers
    boxes: Floats
    classes: Integers
    distances_m: Floats
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def read_frames(path: Path, table: DatasetTable) -> Frames:
    """Read and check a Parquet file of the dataset.

    Raises:
        BadInput: not a dataset file, no rows, or an invalid row (the message names the first).
    """
    rows = _read_table(path)
    names = tuple(
        f"{path.name}: row {n} ({episode}, frame {frame})"
        for n, (episode, frame) in enumerate(
            zip(rows["episode_id"].to_pylist(), rows["frame"].to_pylist(), strict=True)
        )
    )
    starts, boxes = _read_boxes(rows["boxes"], path.name)
    corners = np.column_stack([boxes[side] for side in ("x_min", "y_min", "x_max", "y_max")]).astype(np.float32)
    distances, unknown = boxes["distance_m"].astype(np.float32), boxes["distance_unknown"]
    _check_boxes(corners, np.where(unknown, 0, distances), starts, names)
    owners = np.repeat(np.arange(len(names)), np.diff(starts))
    return Frames(
        images=_decode_images(rows["image"], table, names),
        floors=_indices(rows["floor"].to_pylist(), table.floors, "floor", names, np.arange(len(names))),
        starts=starts,
        boxes=corners,
        classes=_indices(boxes["class"], table.classes, "class", names, owners),
        distances_m=distances,
        names=names,
    )


def _read_table(path: Path) -> Mapping[str, pa.Array]:
    try:
        rows = pq.read_table(path, columns=list(COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path.name}: not a Parquet file of frames: {str(error).splitlines()[0]}") from error
    missing = [name for name in COLUMNS if name not in rows.column_names]
    if missing:
        raise BadInput(f"{path.name}: column '{missing[0]}' is missing")
    if not rows.num_rows:
        raise BadInput(f"{path.name}: no frames")
    return {name: rows[name].combine_chunks() for name in COLUMNS}


def _read_boxes(column: pa.Array, file: str) -> tuple[Integers, dict[str, npt.NDArray[Any]]]:
    if not pa.types.is_list(column.type) or not pa.types.is_struct(column.type.value_type):
        raise BadInput(f"{file}: column 'boxes': expected lists of structs, not {column.type}")
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = column.flatten()
    wanted = ("class", "x_min", "y_min", "x_max", "y_max", "distance_m")
    missing = [name for name in wanted if values.type.get_field_index(name) < 0]
    if missing:
        raise BadInput(f"{file}: column 'boxes': field '{missing[0]}' is missing")
    columns = {name: values.field(name).to_numpy(zero_copy_only=False) for name in wanted}
    return starts, columns | {"distance_unknown": values.field("distance_m").is_null().to_numpy(zero_copy_only=False)}


def _check_boxes(corners: Floats, distances: Floats, starts: Integers, names: tuple[str, ...]) -> None:
    inside = np.all((corners >= 0) & (corners <= 1), axis=1)
    _refuse_bad_rows(
        inside & np.all(corners[:, 2:] > corners[:, :2], axis=1), starts, names, "box has no area inside the image"
    )
    _refuse_bad_rows(np.isfinite(distances) & (distances >= 0), starts, names, "distance_m is not a distance")


def _refuse_bad_rows(good: Any, starts: Integers, names: tuple[str, ...], what: str) -> None:
    if not good.all():
        row = int(np.searchsorted(starts, int(good.argmin()), side="right")) - 1
        raise BadInput(f"{names[row]}: {what}")


def _indices(
    values: Any, known: tuple[str, ...], what: str, names: tuple[str, ...], rows: npt.NDArray[np.int64]
) -> Integers:
    positions = {name: index for index, name in enumerate(known)}
    indices = np.array([positions.get(value, -1) for value in values], dtype=np.int64)
    if len(indices) and indices.min() < 0:
        first = int((indices < 0).argmax())
        raise BadInput(f"{names[rows[first]]}: {what} '{values[first]}' is not one of: {', '.join(known)}")
    return indices


def _decode_images(column: pa.Array, table: DatasetTable, names: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    images = np.empty((len(names), table.height, table.width, 3), np.uint8)
    for n, value in enumerate(column):
        data = value.as_buffer()
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data and data.size else None
        if image is None:
            raise BadInput(f"{names[n]}: image is not a JPEG")
        if image.shape != images.shape[1:]:
            raise BadInput(f"{names[n]}: image is {image.shape[1]}x{image.shape[0]}, not {table.width}x{table.height}")
        images[n] = image
    return images
