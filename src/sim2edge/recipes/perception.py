"""Define the perception recipe: what the camera network learns, and how its raw outputs become detections.

The image is covered by cells, one grid a stride; each cell may claim one obstacle:

    obstacles[n, cell] = [objectness, one logit a class, x, y, width, height, distance]

NumPy only, so that training, validation, export and the device share one definition.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

# By relative names, as MLflow's models ship a copy of both modules: see train/mlflow_model.py.
from .perception_names import CLASSES as CLASSES
from .perception_names import FLOORS as FLOORS

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

STRIDES = (8, 16)
"""Pixels from cell to cell: the fine grid for small obstacles, the coarse one for large."""

MAX_ON_FINE = 4.0
"""Obstacles whose mean side is below this many fine cells belong to the fine grid."""

OFFSET_GAIN = 0.5
SIZE_GAIN = 0.25
DISTANCE_GAIN = 0.25
"""The unit of an output: cells from the cell's centre, logarithm of size in cells, logarithm of metres.
Below 1, so that all outputs span alike ranges and one int8 scale fits them."""

RAW_LIMIT = 24.0
"""Sizes and distances beyond this raw value are clipped, so that no exponential overflows."""

BOX_VALUES = 4


@dataclass(frozen=True)
class Detections:
    """The network's result for one image; obstacles are sorted by falling score.

    `floor` [floors] probabilities; `boxes` [M, 4] corners (x_min, y_min, x_max, y_max) as fractions 0..1 of the image;
    `scores` [M] 0..1; `classes` [M] indices; `distances_m` [M] metres.
    """

    floor: Floats
    boxes: Floats
    scores: Floats
    classes: Integers
    distances_m: Floats


def grid_shapes(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Return rows and columns of each grid for an image of `height` x `width` pixels, multiples of the largest stride.

    Raises:
        ValueError: the image is not a whole number of cells.
    """
    if height % STRIDES[-1] or width % STRIDES[-1] or min(height, width) <= 0:
        raise ValueError(f"image {width}x{height}: both sides have to be multiples of {STRIDES[-1]}")
    return tuple((height // stride, width // stride) for stride in STRIDES)


def cell_geometry(grids: Sequence[Sequence[int]]) -> Floats:
    """Return centre x, y, width, height of every cell as fractions of the image: [cells, 4], grid by grid, row by row.

    The array is shared and read-only.
    """
    return _cell_geometry(tuple(map(tuple, grids)))


@lru_cache(maxsize=16)
def _cell_geometry(grids: tuple[tuple[int, ...], ...]) -> Floats:
    parts = []
    for rows, columns in grids:
        y, x = np.mgrid[0:rows, 0:columns].reshape(2, -1)
        size = np.broadcast_to([1 / columns, 1 / rows], (rows * columns, 2))
        parts.append(np.column_stack([(x + 0.5) / columns, (y + 0.5) / rows, size]))
    cells = np.concatenate(parts).astype(np.float32)
    cells.setflags(write=False)
    return cells


def assign_cells(boxes: Floats, grids: Sequence[Sequence[int]]) -> Integers:
    """Return the box that each cell has to claim: an index into `boxes`, or -1 for none.

    A box belongs to the grid of its size, and there to the cell of its centre and those whose centre is within
    0.75 cells of it; if two boxes want a cell, the smaller one gets it, as it has fewer.

    Args:
        boxes: [M, 4] corners as fractions of the image.
        grids: rows and columns of each grid.

    Returns:
        [cells] indices.
    """
    cells = cell_geometry(grids)
    owners = np.full(len(cells), -1, dtype=np.int64)
    if not len(boxes):
        return owners
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    fine = np.array([1 / grids[0][1], 1 / grids[0][0]])
    on_fine = np.sqrt(np.prod(np.maximum(sizes, 1e-6) / fine, axis=1)) < MAX_ON_FINE
    levels = np.repeat(np.arange(len(grids)), [rows * columns for rows, columns in grids])
    apart = np.abs(cells[:, None, :2] - centres[None]) / cells[:, None, 2:]
    wanted = (apart.max(axis=2) <= 0.75) & (levels[:, None] == np.where(on_fine, 0, 1)[None])
    areas = np.where(wanted, np.prod(sizes, axis=1)[None], np.inf)
    claimed = wanted.any(axis=1)
    owners[claimed] = areas[claimed].argmin(axis=1)
    return owners


def decode(
    floor_logits: npt.ArrayLike,
    obstacles: npt.ArrayLike,
    *,
    grids: Sequence[Sequence[int]],
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    announced: Sequence[int] | None = None,
) -> list[Detections]:
    """Convert raw outputs to detections, one item for each image.

    Args:
        floor_logits: [N, floors].
        obstacles: [N, cells, 1 + classes + 4 + 1].
        grids: rows and columns of each grid.
        score_threshold: detections below this score (0..1) are dropped; so are those that are not finite.
        iou_threshold: of two detections that overlap more than this, the better is kept.
        max_detections: the number of best detections that are kept.
        announced: indices of the classes that are reported; None: all. Others are dropped last, so that the gate
            evaluates what is reported.

    Raises:
        ValueError: the outputs have other shapes.
    """
    floors, raw = np.asarray(floor_logits, np.float32), np.asarray(obstacles, np.float32)
    cells = cell_geometry(grids)
    if raw.ndim != 3 or raw.shape[1] != len(cells) or raw.shape[2] <= BOX_VALUES + 2 or len(raw) != len(floors):
        raise ValueError(f"outputs {floors.shape} and {raw.shape} do not fit {len(cells)} cells")
    found = [
        _decode_image(floor, values, cells, score_threshold, iou_threshold, max_detections)
        for floor, values in zip(floors, raw, strict=True)
    ]
    return found if announced is None else [keep_classes(each, announced) for each in found]


def keep_classes(found: Detections, announced: Sequence[int]) -> Detections:
    """Keep only the obstacles whose class is one of the indices `announced`."""
    kept = np.isin(found.classes, announced)
    return Detections(found.floor, found.boxes[kept], found.scores[kept], found.classes[kept], found.distances_m[kept])


def _decode_image(
    floor: Floats, raw: Floats, cells: Floats, score_threshold: float, iou_threshold: float, limit: int
) -> Detections:
    """Return detections of one image from its raw outputs [cells, values]."""
    # A score is at most its objectness: the cells below the threshold there, nearly all, need no further arithmetic.
    likely = (raw[:, 0] >= logit(score_threshold) - 1e-3).nonzero()[0]
    raw = raw.take(likely, axis=0).T.copy()  # [values, K] from here on: NumPy is fastest along a long last axis
    if not len(likely):
        return Detections(softmax(floor), raw[:BOX_VALUES].T, raw[0], likely, raw[0])
    scores = score_cells(raw)
    usable = ((scores >= score_threshold) & np.isfinite(raw).all(axis=0)).nonzero()[0]
    raw, scores, cells = raw.take(usable, axis=1), scores.take(usable), cells.take(likely.take(usable), axis=0).T
    boxes = decode_boxes(raw[-BOX_VALUES - 1 : -1], cells).T
    kept = suppress(boxes, scores, iou_threshold, limit)
    raw = raw.take(kept, axis=1)
    classes = raw[1 : -BOX_VALUES - 1].argmax(axis=0)
    distances = np.exp(np.minimum(raw[-1], RAW_LIMIT) * DISTANCE_GAIN)
    return Detections(softmax(floor), boxes.take(kept, axis=0), scores.take(kept), classes, distances)


def score_cells(raw: Floats) -> Floats:
    """Return the score of every cell, objectness times probability of its best class, from outputs [values, cells]."""
    logits = raw[1 : -BOX_VALUES - 1]
    powers = np.exp(logits - logits.max(axis=0))
    # The best class has the power 1, so its probability is one over their sum.
    scores: Floats = 1 / ((1 + np.exp(np.minimum(-raw[0], 30))) * powers.sum(axis=0))
    return scores


def decode_boxes(raw: Floats, cells: Floats) -> Floats:
    """Return corners as fractions of the image, clipped to it, from raw box outputs and geometry, each [4, cells]."""
    centres = cells[:2] + raw[:2] * OFFSET_GAIN * cells[2:]
    halves = np.exp(np.minimum(raw[2:], RAW_LIMIT) * SIZE_GAIN) * cells[2:] / 2
    corners: Floats = np.concatenate([centres - halves, centres + halves])
    return np.minimum(np.maximum(corners, 0), 1)


def suppress(boxes: Floats, scores: Floats, iou_threshold: float, limit: int) -> Integers:
    """Apply non-maximum suppression over all classes; return the indices of the kept boxes [M, 4], best first."""
    corners_and_sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    try:
        import cv2  # here, as most importers of this module never decode
    except ImportError:  # where MLflow loads a model
        return suppress_without_opencv(corners_and_sizes.astype(np.float64), scores, iou_threshold, limit)
    # As lists: OpenCV reads numbers from an array one by one, five times as slowly.
    kept = cv2.dnn.NMSBoxes(corners_and_sizes.tolist(), scores.tolist(), 0.0, iou_threshold)
    return np.asarray(kept[:limit], np.int64)


def suppress_without_opencv(
    boxes: npt.NDArray[np.float64], scores: Floats, iou_threshold: float, limit: int
) -> Integers:
    """Keep the same boxes (x, y, width, height) as OpenCV's `NMSBoxes`, a few times as slowly."""
    order = np.argsort(-scores, kind="stable")[: np.count_nonzero(scores > 0)]
    low, high, areas = boxes[:, :2], boxes[:, :2] + boxes[:, 2:], boxes[:, 2] * boxes[:, 3]
    kept: list[int] = []
    while len(order) and len(kept) < limit:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        sides = np.maximum(np.minimum(high[order], high[best]) - np.maximum(low[order], low[best]), 0)
        shared, total = sides[:, 0] * sides[:, 1], areas[order] + areas[best]
        same = total <= np.finfo(np.float64).eps  # two boxes without area count as equal
        apart = 1 - np.divide(shared, total - shared, out=np.ones(len(order)), where=~same)
        order = order[np.float32(1) - apart.astype(np.float32) <= np.float32(iou_threshold)]
    return np.array(kept, np.int64)


@lru_cache(maxsize=16)
def logit(share: float) -> float:
    """Return the output whose sigmoid is `share`, 0..1; infinite at both ends."""
    if 0 < share < 1:
        return math.log(share / (1 - share))
    return -math.inf if share <= 0 else math.inf


def softmax(logits: Floats) -> Floats:
    """Return probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def signature(height: int, width: int, score_threshold: float = 0.4) -> dict[str, Any]:
    """Return the keyword arguments of `decode` for a network on `height` x `width` pixels, as JSON values."""
    return {
        "grids": [list(grid) for grid in grid_shapes(height, width)],
        "score_threshold": score_threshold,
        "iou_threshold": 0.5,
        "max_detections": 50,
    }
