"""Measure the quality of detections: one definition for early stopping, the verdict, and the parity of exports."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sim2edge.recipes.perception import Detections, Floats, Integers
from sim2edge.recipes.perception_frames import Frames

SCORE_FLOOR = 0.01
"""Detections below this score change the area under a precision-recall curve only negligibly."""

MATCH_IOU = 0.5

MAX_DETECTIONS = 100
"""Of one class in one image, the best: COCO's evaluation ignores further ones."""

Doubles = npt.NDArray[np.float64]


def pixel_boxes(boxes: Floats, height: int, width: int) -> Doubles:
    """Convert corners as fractions of the image, [M, 4], to COCO's x, y, width, height in pixels."""
    corners = boxes.astype(np.float64) * np.array([width, height, width, height])
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def overlaps(found: Doubles, true: Doubles) -> Doubles:
    """Return intersection over union of boxes (x, y, width, height) [A, 4] and [B, 4]: [A, B]; without area: 0.

    It computes in the order of pycocotools, to agree to the last bit: an overlap may lie just on a threshold.
    """
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum(found[:, None, 2:] + found[:, None, :2], true[None, :, 2:] + true[None, :, :2])
    sides = np.maximum(high - low, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = (found[:, 2] * found[:, 3])[:, None] + (true[:, 2] * true[:, 3])[None] - shared
    overlap: Doubles = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return overlap


def coco_results(detections: Sequence[Detections], height: int, width: int) -> list[dict[str, Any]]:
    """Return detections in COCO's result format, in full precision.

    Image and category count from 1, `bbox` = [x, y, width, height] in pixels.
    """
    return [
        {"image_id": n + 1, "category_id": int(kind) + 1, "bbox": box.tolist(), "score": float(score)}
        for n, found in enumerate(detections)
        for kind, box, score in zip(found.classes, pixel_boxes(found.boxes, height, width), found.scores, strict=True)
    ]


def round_results(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Round boxes to 0.01 px and scores to 1e-5: for a file, not for metrics, as rounding makes ties."""
    return [
        {**result, "bbox": [round(side, 2) for side in result["bbox"]], "score": round(result["score"], 5)}
        for result in results
    ]


def coco_truth(frames: Frames, classes: int) -> dict[str, Any]:
    """Return the frames' boxes as a COCO annotation file."""
    height, width = frames.images.shape[1:3]
    owners = np.repeat(np.arange(len(frames)), np.diff(frames.starts))
    boxes = pixel_boxes(frames.boxes, height, width)
    annotations = [
        {
            "id": index,
            "image_id": int(owner) + 1,
            "category_id": int(kind) + 1,
            "bbox": box.tolist(),
            "area": float(box[2] * box[3]),
            "iscrowd": 0,
        }
        for index, (owner, kind, box) in enumerate(zip(owners, frames.classes, boxes, strict=True), start=1)
    ]
    return {
        "images": [{"id": n + 1, "height": height, "width": width} for n in range(len(frames))],
        "categories": [{"id": kind + 1, "name": str(kind)} for kind in range(classes)],
        "annotations": annotations,
    }


def mean_average_precision(
    frames: Frames, detections: Sequence[Detections], classes: int
) -> tuple[float | None, float | None, list[float | None]]:
    """Return COCO mAP@50, mAP@50-95 and AP@50 of each class.

    None: a class that has no true box in the frames, and both means if there is no true box at all. A class that has
    true boxes and is never detected has an AP of 0.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    present = set(frames.classes.tolist())
    usable = [kind for kind in range(classes) if kind in present]
    results = coco_results(detections, *frames.images.shape[1:3])
    if not usable:
        return None, None, [None] * classes
    if not results:
        return 0.0, 0.0, [0.0 if kind in present else None for kind in range(classes)]
    truth = COCO(coco_truth(frames, classes))
    evaluation = COCOeval_faster(truth, truth.loadRes(results), "bbox", print_function=_silent)
    evaluation.params.maxDets = [1, 10, MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[..., 0, -1]  # [IoU, recall, class]: all areas, most detections
    at_50 = [float(precision[0, :, kind].mean()) if kind in present else None for kind in range(classes)]
    return float(precision[0][:, usable].mean()), float(precision[:, :, usable].mean()), at_50


def _silent(*_: object) -> None:
    """Discard the evaluator's report: standard output is for the stage's own progress."""


def match_detections(found: Detections, boxes: Floats, classes: Integers, same_class: bool = True) -> Integers:
    """Return, for each detection, best first, the true box it matches (each once, IoU >= 0.5), or -1: [M].

    Of true boxes that it overlaps equally it matches the last one, as in COCO's evaluation.
    """
    matched = np.full(len(found.boxes), -1, dtype=np.int64)
    if not len(boxes):
        return matched
    shared = overlaps(pixel_boxes(found.boxes, 1, 1), pixel_boxes(boxes, 1, 1))
    if same_class:
        shared = np.where(found.classes[:, None] == classes[None], shared, 0)
    for index in range(len(matched)):
        best = len(boxes) - 1 - int(shared[index, ::-1].argmax())
        if shared[index, best] >= MATCH_IOU:
            matched[index] = best
            shared[:, best] = 0
    return matched


def best_threshold(frames: Frames, detections: Sequence[Detections]) -> float:
    """Return the score threshold (0..1) with the best F1 over all obstacles of `frames`; 0.5 if none is ever found.

    It lies halfway between the worst score that it keeps and the next one, and is a float32, as scores are: whoever
    compares a score with it, in whatever precision, keeps the same detections.
    """
    scores, hits = match_scores(frames, detections)
    if not hits.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], np.cumsum(hits[order])
    last = np.append(scores[:-1] != scores[1:], True).nonzero()[0]  # of equal scores: all are kept, or none
    f1 = 2 * found[last] / (last + 1 + len(frames.boxes))
    kept = last[f1.argmax()]
    below = scores[kept + 1] if kept + 1 < len(scores) else min(SCORE_FLOOR, float(scores[kept]))
    middle = np.float32((float(scores[kept]) + float(below)) / 2)
    return float(middle if middle > below else scores[kept])


def match_scores(frames: Frames, detections: Sequence[Detections]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the score of every detection in all frames, and whether it matches a true box of its class."""
    hits = []
    for n, found in enumerate(detections):
        span = slice(frames.starts[n], frames.starts[n + 1])
        hits.append(match_detections(found, frames.boxes[span], frames.classes[span]) >= 0)
    return np.concatenate([found.scores for found in detections]), np.concatenate(hits)


def floor_accuracy(frames: Frames, detections: Sequence[Detections]) -> float:
    """Return the share of frames whose floor is predicted correctly, 0..1."""
    predicted = np.array([found.floor.argmax() for found in detections])
    return float((predicted == frames.floors).mean())
