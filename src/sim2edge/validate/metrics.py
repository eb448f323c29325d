"""Compute the metrics of a model on held-out frames as plain numbers: floors, obstacles, distances.

`None` stands for a metric that the frames leave undefined, such as the precision of a class that was never detected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score, roc_curve

from sim2edge.recipes.perception import Detections, Floats, Integers
from sim2edge.recipes.perception_frames import DatasetTable, Frames
from sim2edge.recipes.perception_metrics import Doubles, floor_accuracy, match_detections, mean_average_precision
from sim2edge.validate.bootstrap import distance_errors, resample


@dataclass(frozen=True)
class Evaluation:
    """All measurements: `metrics` for the verdict, `samples` of them for intervals, the rest for the pictures.

    `samples`: metrics of every resample, as returned by `resample`; None with too few episodes to draw from.
    `floor_confusion` [floors, floors] and `obstacle_confusion` [classes + 1, classes + 1]: rows are the truth, columns
    the prediction; the last row and column of the latter are "nothing". `floor_curves`: per floor the ROC's
    false and true positive rates.
    """

    metrics: dict[str, Any]
    samples: dict[str, Doubles] | None
    floor_confusion: Integers
    obstacle_confusion: Integers
    floor_curves: dict[str, tuple[Floats, Floats]]


def evaluate(
    frames: Frames,
    detections: Sequence[Detections],
    table: DatasetTable,
    threshold: float,
    weights: Doubles | None = None,
) -> Evaluation:
    """Evaluate the detections against the truth.

    Args:
        frames: the truth.
        detections: of each frame, down to a low score.
        table: names of classes and floors.
        threshold: the working point: detections below this score (0..1) count for mAP and floor confusion only.
        weights: weight of each frame in each resample, [B, N]; None: no samples.
    """
    finite = float(np.mean([np.isfinite(found.floor).all() for found in detections]))
    detections = [replace(found, floor=np.nan_to_num(found.floor)) for found in detections]
    working = [above(found, threshold) for found in detections]
    at_50, at_50_95, per_class = mean_average_precision(frames, detections, len(table.classes))
    predicted = np.array([found.floor.argmax() for found in detections])
    floor_confusion = confusion(frames.floors, predicted, len(table.floors))
    obstacle_confusion = confuse_obstacles(frames, working, len(table.classes))
    classes = rates_of(obstacle_confusion, table.classes)
    floors = rates_of(floor_confusion, table.floors)
    curves = floor_rocs(frames.floors, np.stack([found.floor for found in detections]), table.floors)
    for name, (_, _, area) in curves.items():
        floors[name]["roc_auc"] = area
    metrics = {
        "frames": len(frames),
        "obstacles": len(frames.boxes),
        "score_threshold": threshold,
        "floor_accuracy": floor_accuracy(frames, detections),
        "map_50": at_50,
        "map_50_95": at_50_95,
        "distance_error_m": distance_error(frames, working),
        "finite_outputs": finite,
        "floors": floors,
        "classes": {
            name: {**classes[name], "ap_50": value} for name, value in zip(table.classes, per_class, strict=True)
        },
    }
    samples = resample(frames, detections, working, len(table.classes), weights) if weights is not None else None
    pictured = {name: (x, y) for name, (x, y, _) in curves.items()}
    return Evaluation(metrics, samples, floor_confusion, obstacle_confusion, pictured)


def above(found: Detections, threshold: float) -> Detections:
    """Return the detections with at least this score."""
    kept = found.scores >= threshold
    return Detections(found.floor, found.boxes[kept], found.scores[kept], found.classes[kept], found.distances_m[kept])


def confusion(truth: Integers, predicted: Integers, count: int) -> Integers:
    """Return the confusion matrix of `count` values: rows are the truth, columns the prediction."""
    table = np.zeros((count, count), dtype=np.int64)
    np.add.at(table, (truth, predicted), 1)
    return table


def confuse_obstacles(frames: Frames, detections: Sequence[Detections], classes: int) -> Integers:
    """Return the confusion of obstacles matched by place alone (IoU >= 0.5), [classes + 1] * 2; the last is nothing."""
    truth, predicted = [], []
    for n, found in enumerate(detections):
        span = slice(frames.starts[n], frames.starts[n + 1])
        true_classes = frames.classes[span]
        matched = match_detections(found, frames.boxes[span], true_classes, same_class=False)
        missed = np.setdiff1d(np.arange(len(true_classes)), matched)
        truth += [np.where(matched >= 0, np.append(true_classes, classes)[matched], classes), true_classes[missed]]
        predicted += [found.classes, np.full(len(missed), classes)]
    return confusion(np.concatenate(truth), np.concatenate(predicted), classes + 1)


def rates_of(table: Integers, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Return precision, recall, F1 and number of true examples of each name from a confusion matrix."""
    rates = {}
    for index, name in enumerate(names):
        right, true, predicted = (int(v) for v in (table[index, index], table[index].sum(), table[:, index].sum()))
        rates[name] = {
            "precision": right / predicted if predicted else None,
            "recall": right / true if true else None,
            "f1": 2 * right / (true + predicted) if true + predicted else None,
            "support": true,
        }
    return rates


def floor_rocs(
    truth: Integers, probabilities: Floats, floors: Sequence[str]
) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any], float]]:
    """Return the ROC (false and true positive rates) and the area under it of each floor that only some frames have."""
    curves = {}
    for index, name in enumerate(floors):
        positive = truth == index
        if positive.any() and not positive.all():
            false_rate, true_rate, _ = roc_curve(positive, probabilities[:, index])
            curves[name] = (false_rate, true_rate, float(roc_auc_score(positive, probabilities[:, index])))
    return curves


def distance_error(frames: Frames, detections: Sequence[Detections]) -> float | None:
    """Return the mean absolute distance error, metres, of the found obstacles whose distance is known; None: none."""
    _, errors = distance_errors(frames, detections)
    return float(errors.mean()) if len(errors) else None
