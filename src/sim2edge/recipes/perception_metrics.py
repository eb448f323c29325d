"""Measure the quality of detections: one definition for early stopping, the verdict, and the parity of exports."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sim2edge.recipes.perception import Detections, Floats, Integers, intersection_over_union
from sim2edge.recipes.perception_frames import Frames

SCORE_FLOOR = 0.01
"""Detections below this score change the area under a precision-recall curve only negligibly."""

MATCH_IOU = 0.5


def coco_results(detections: Sequence[Detections], height: int, width: int) -> list[dict[str, Any]]:
    """Return detections in COCO's result format.

    Image and category count from 1, `bbox` = [x, y, width, height] in pixels.
    """
    side = np.array([width, height, width, height], np.float32)
    return [
        {
            "image_id": n + 1,
            "category_id": int(kind) + 1,
            "bbox": [round(float(v), 2) for v in (*(box * side)[:2], *(box[2:] - box[:2]) * side[:2])],
            "score": round(float(score), 5),
        }
        for n, found in enumerate(detections)
        for kind, box, score in zip(found.classes, found.boxes, found.scores, strict=True)
    ]


def coco_truth(frames: Frames, classes: int) -> dict[str, Any]:
    """Return the frames' boxes as a COCO annotation file."""
    height, width = frames.images.shape[1:3]
    side = np.array([width, height], np.float64)
    owners = np.repeat(np.arange(len(frames)), np.diff(frames.starts))
    annotations = []
    for index, (owner, kind, box) in enumerate(zip(owners, frames.classes, frames.boxes, strict=True)):
        low, size = box[:2] * side, (box[2:] - box[:2]) * side
        annotations.append(
            {
                "id": index + 1,
                "image_id": int(owner) + 1,
                "category_id": int(kind) + 1,
                "bbox": [*map(float, low), *map(float, size)],
                "area": float(size.prod()),
                "iscrowd": 0,
            }
        )
    return {
        "images": [{"id": n + 1, "height": height, "width": width} for n in range(len(frames))],
        "categories": [{"id": kind + 1, "name": str(kind)} for kind in range(classes)],
        "annotations": annotations,
    }


def mean_average_precision(
    frames: Frames, detections: Sequence[Detections], classes: int
) -> tuple[float, float, list[float | None]]:
    """Return COCO mAP@50, mAP@50-95, AP@50 of each class (None: not in the frames); all 0 if nothing was detected."""
    from faster_coco_eval import COCO, COCOeval_faster

    present = set(frames.classes.tolist())
    results = coco_results(detections, *frames.images.shape[1:3])
    if not results or not present:
        return 0.0, 0.0, [0.0 if kind in present else None for kind in range(classes)]
    truth = COCO(coco_truth(frames, classes))
    evaluation = COCOeval_faster(truth, truth.loadRes(results), "bbox", print_function=_silent)
    evaluation.params.maxDets = [1, 10, 100]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[..., 0, -1]  # [IoU, recall, class]: all areas, most detections
    usable = [kind for kind in range(classes) if kind in present]
    at_50 = [float(precision[0, :, kind].mean()) if kind in present else None for kind in range(classes)]
    return float(precision[0][:, usable].mean()), float(precision[:, :, usable].mean()), at_50


def _silent(*_: object) -> None:
    """Discard the evaluator's report: standard output is for the stage's own progress."""


def match_detections(found: Detections, boxes: Floats, classes: Integers, same_class: bool = True) -> Integers:
    """Return, for each detection, best first, the true box it matches (each once, IoU >= 0.5), or -1: [M]."""
    matched = np.full(len(found.boxes), -1, dtype=np.int64)
    if not len(boxes):
        return matched
    overlaps = intersection_over_union(found.boxes, boxes)
    if same_class:
        overlaps = np.where(found.classes[:, None] == classes[None], overlaps, 0)
    for index in range(len(matched)):
        best = int(overlaps[index].argmax())
        if overlaps[index, best] >= MATCH_IOU:
            matched[index] = best
            overlaps[:, best] = 0
    return matched


def best_threshold(frames: Frames, detections: Sequence[Detections]) -> float:
    """Return the score threshold (0..1) with the best F1 over all obstacles of `frames`; 0.5 if none is ever found."""
    scores, hits = match_scores(frames, detections)
    if not hits.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(hits[order])
    f1 = 2 * found / (np.arange(1, len(order) + 1) + len(frames.boxes))
    return round(float(np.clip(scores[order][f1.argmax()], 0.05, 0.95)), 3)


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
