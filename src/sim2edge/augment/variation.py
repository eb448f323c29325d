"""Augment a table of training frames: decode each image once, build its copies, and assemble the new table."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sim2edge.augment.balance import copies_of
from sim2edge.augment.config import AugmentConfig
from sim2edge.augment.frames_reader import dataset_schema
from sim2edge.augment.transforms import Sample, draw_changes, row_seed, vary
from sim2edge.errors import BadInput
from sim2edge.frames.columns import BOX_NUMBERS, LIDAR
from sim2edge.recipes.perception import CLASSES

ROWS_A_THREAD = 64
"""Rows of one unit of work: OpenCV releases the GIL while it processes an image."""


@dataclass(frozen=True)
class Variation:
    """The settings for augmenting a table."""

    config: AugmentConfig
    factors: Mapping[str, float]
    """Label to the factor on the usual number of copies of its frames."""
    mirror: NDArray[np.intp]
    """From `transforms.mirror_order`."""


@dataclass(frozen=True)
class Copy:
    """An augmented copy of row `row`."""

    row: int
    augmentation: str
    jpeg: bytes
    sample: Sample


def vary_table(table: pa.Table, variation: Variation, pool: ThreadPoolExecutor) -> pa.Table:
    """Return the augmented copies of all rows of a table (columns of `frames_schema`), in order of row and copy.

    Raises:
        BadInput: an image cannot be decoded.
    """
    pieces = [table.slice(first, ROWS_A_THREAD) for first in range(0, len(table), ROWS_A_THREAD)]
    varied = list(pool.map(lambda piece: _vary_piece(piece, variation), pieces))
    return pa.concat_tables(varied) if varied else dataset_schema().empty_table()


def _vary_piece(table: pa.Table, variation: Variation) -> pa.Table:
    copies: list[Copy] = []
    for row, (sample, labels) in enumerate(read_samples(table)):
        copies += make_copies(table, row, sample, labels, variation)
    return assemble(table, copies)


def read_samples(table: pa.Table) -> list[tuple[Sample, set[str]]]:
    """Return each row as a sample, and the labels (classes and floor) that it shows."""
    boxes = table["boxes"].combine_chunks()
    offsets = boxes.offsets.to_numpy() - boxes.offsets[0].as_py()
    flat = boxes.flatten()
    numbers = np.stack([flat.field(name).to_numpy(zero_copy_only=False) for name in BOX_NUMBERS], axis=1)
    names = flat.field("class").to_pylist()
    classes = np.array([CLASSES.index(name) for name in names], np.int32)
    scans = table["lidar"].combine_chunks()
    turning, y, yaw = (table[name].to_pylist() for name in ("angular_rad_s", "y_m", "yaw_rad"))
    floors, images = table["floor"].to_pylist(), table["image"].to_pylist()
    samples = []
    for row, data in enumerate(images):
        part = slice(offsets[row], offsets[row + 1])
        sample = Sample(
            image=decode(data, table, row), boxes=numbers[part], classes=classes[part],
            lidar=scans[row].values.to_numpy() if scans[row].is_valid else None,
            angular_rad_s=turning[row], y_m=y[row], yaw_rad=yaw[row],
        )  # fmt: skip
        samples.append((sample, {floors[row], *names[part]}))
    return samples


def decode(data: bytes, table: pa.Table, row: int) -> NDArray[np.uint8]:
    """Decode a JPEG to BGR.

    Raises:
        BadInput: it is not a JPEG; the message names episode and frame.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise BadInput(f"episode {table['episode_id'][row]}: frame {table['frame'][row]}: the image is not a JPEG")
    return np.asarray(image, np.uint8)


def make_copies(table: pa.Table, row: int, sample: Sample, labels: set[str], variation: Variation) -> list[Copy]:
    """Return the augmented copies of one row."""
    config = variation.config
    episode_id, frame = table["episode_id"][row].as_py(), table["frame"][row].as_py()
    draw = row_seed(config.seed, episode_id, frame, -1) / 2**64
    copies = []
    for copy in range(copies_of(labels, variation.factors, config.copies, draw)):
        changes = draw_changes(row_seed(config.seed, episode_id, frame, copy), config)
        varied = vary(sample, changes, variation.mirror)
        _, jpeg = cv2.imencode(".jpg", varied.image, [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality])
        copies.append(Copy(row, changes.describe(sample.lidar is not None), jpeg.tobytes(), varied))
    return copies


def assemble(table: pa.Table, copies: Sequence[Copy]) -> pa.Table:
    """Return the copies as a table; columns without changes come from their rows."""
    samples = [copy.sample for copy in copies]
    changed = {
        "image": pa.array([copy.jpeg for copy in copies], pa.binary()),
        "lidar": _lidar_column([sample.lidar for sample in samples]),
        "angular_rad_s": pa.array([sample.angular_rad_s for sample in samples], pa.float32()),
        "y_m": pa.array([sample.y_m for sample in samples], pa.float32()),
        "yaw_rad": pa.array([sample.yaw_rad for sample in samples], pa.float32()),
        "boxes": _boxes_column(samples),
        "augmentation": pa.array([copy.augmentation for copy in copies], pa.string()),
    }
    schema = dataset_schema()
    same = table.select([name for name in schema.names if name not in changed]).take([copy.row for copy in copies])
    return pa.table({name: changed[name] if name in changed else same[name] for name in schema.names}, schema=schema)


def _lidar_column(scans: Sequence[NDArray[np.float32] | None]) -> pa.Array:
    known = [scan for scan in scans if scan is not None]
    offsets = np.cumsum([0, *(0 if scan is None else len(scan) for scan in scans)], dtype=np.int32)
    values = pa.array(np.concatenate(known) if known else np.empty(0, np.float32))
    absent = pa.array([scan is None for scan in scans], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=LIDAR, mask=absent)


def _boxes_column(samples: Sequence[Sample]) -> pa.Array:
    lengths = [len(sample.boxes) for sample in samples]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    numbers = np.concatenate([sample.boxes for sample in samples]) if samples else np.empty((0, 6), np.float32)
    classes = np.concatenate([sample.classes for sample in samples]) if samples else np.empty(0, np.int32)
    names = pa.array(CLASSES).take(pa.array(classes)) if len(classes) else pa.array([], pa.string())
    columns = [
        names,
        *(pa.array(np.ascontiguousarray(numbers[:, i]), from_pandas=True) for i in range(len(BOX_NUMBERS))),
    ]
    struct = pa.StructArray.from_arrays(columns, ["class", *BOX_NUMBERS])
    return pa.ListArray.from_arrays(pa.array(offsets), struct)
