"""Resample test episodes to get confidence intervals of metrics (Efron and Tibshirani 1993, paired bootstrap).

    weights = draw_weights(episodes, resamples=400)     # the same for every model, so that differences are paired
    samples = resample(frames, detections, working, classes=9, weights=weights)
    interval(samples["map_50"] - other["map_50"], confidence=0.9)

Whole episodes are drawn: frames of one drive resemble each other, and drawing frames would make intervals far too
narrow. COCO's matching runs once per model; a resample then only weighs its frames. With every weight 1 the metrics
equal those of `mean_average_precision`; with other weights those of the repeated frames, except that among equal scores
all copies of one detection come before those of the next.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2edge.recipes.perception import Detections, Integers
from sim2edge.recipes.perception_frames import Frames
from sim2edge.recipes.perception_metrics import MAX_DETECTIONS, Doubles, match_detections, overlaps, pixel_boxes

SEED = 20
IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
"""The thresholds of COCO's evaluation."""
MAX_ELEMENTS = 4_000_000
"""Elements of one array of a block of resamples: 32 MB."""


@dataclass(frozen=True)
class ClassMatches:
    """The detections of one class in all frames, by falling score.

    `frames` [D]: frame of each; `hits` [IoUs, D]: whether it matches a true box; `truth` [N]: true boxes of each frame.
    """

    frames: Integers
    hits: npt.NDArray[np.bool_]
    truth: Doubles


def draw_weights(episodes: Integers, resamples: int) -> Doubles:
    """Return the weight of each frame in each resample, [resamples, N], from the episode [N] of each frame."""
    count = int(episodes.max()) + 1
    draws = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), size=resamples)
    return draws[:, episodes].astype(np.float64)


def resample(
    frames: Frames, detections: Sequence[Detections], working: Sequence[Detections], classes: int, weights: Doubles
) -> dict[str, Doubles]:
    """Compute the metrics of every resample.

    Args:
        frames: the truth.
        detections: of each frame, down to a low score.
        working: the detections at the working threshold.
        classes: number of classes.
        weights: of each frame in each resample, [B, N].

    Returns:
        `floor_accuracy`, `map_50`, `map_50_95`, `distance_error_m`, each [B]; `class_ap_50` [B, classes];
        `floor_recall` [B, floors]. NaN where a resample holds no example.
    """
    right = np.array([found.floor.argmax() for found in detections]) == frames.floors
    floors = np.arange(len(detections[0].floor))[:, None] == frames.floors[None]
    where, errors = distance_errors(frames, working)
    precisions = average_precisions(match_all(frames, detections, classes), weights)
    there = ~np.isnan(precisions[:, :, :1])
    means = _ratio(np.where(there, precisions, 0).sum(axis=1), there.sum(axis=1) + 0.0)
    return {
        "floor_accuracy": _ratio(weights @ right, weights.sum(axis=1)),
        "floor_recall": _ratio(weights @ (floors & right).T, weights @ floors.T),
        "map_50": means[:, 0],
        "map_50_95": means.mean(axis=1),
        "class_ap_50": precisions[:, :, 0],
        "distance_error_m": _ratio(weights[:, where] @ errors, weights[:, where].sum(axis=1)),
    }


def _ratio(part: Doubles, whole: Doubles) -> Doubles:
    ratio: Doubles = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratio


def distance_errors(frames: Frames, detections: Sequence[Detections]) -> tuple[Integers, Doubles]:
    """Return, for each obstacle that was found, its frame and the absolute error of its distance in metres.

    Obstacles of unknown distance are left out.
    """
    where, errors = [], []
    for n, found in enumerate(detections):
        span = slice(frames.starts[n], frames.starts[n + 1])
        matched = match_detections(found, frames.boxes[span], frames.classes[span])
        hit = matched >= 0
        true = frames.distances_m[span][matched[hit]].astype(np.float64)
        known = ~np.isnan(true)
        errors.append(np.abs(found.distances_m[hit][known] - true[known]))
        where.append(np.full(len(errors[-1]), n))
    return np.concatenate(where), np.concatenate(errors)


def average_precisions(matches: Sequence[ClassMatches], weights: Doubles) -> Doubles:
    """Return the AP of each class at each IoU in each resample, [B, classes, IoUs]; NaN without true boxes."""
    longest = max(len(each.frames) for each in matches)
    rows = max(1, MAX_ELEMENTS // max(1, longest))
    blocks = [weights[start : start + rows] for start in range(0, len(weights), rows)]
    return np.concatenate([np.stack([average_precision(each, block) for each in matches], axis=1) for block in blocks])


def average_precision(matches: ClassMatches, weights: Doubles) -> Doubles:
    """Return COCO's interpolated AP of one class at each IoU in each resample, [B, IoUs]; NaN without true boxes."""
    truth = (weights @ matches.truth)[:, None]
    counted = weights[:, matches.frames]
    predicted = counted.cumsum(axis=1)
    precisions = np.zeros((len(weights), len(IOUS)))
    for index, hits in enumerate(matches.hits):
        found = counted[:, hits].cumsum(axis=1)  # precision and recall rise at a match only
        recall, precision = _ratio(found, truth + 0 * found), np.nan_to_num(_ratio(found, predicted[:, hits]))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(RECALLS, recall, side="right")
        precisions[:, index] = (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
    return np.where(truth > 0, precisions, np.nan)


def match_all(frames: Frames, detections: Sequence[Detections], classes: int) -> list[ClassMatches]:
    """Match the detections of each class by the rules of COCO's evaluation."""
    height, width = frames.images.shape[1:3]
    owners = np.repeat(np.arange(len(frames)), np.diff(frames.starts))
    rows: list[list[tuple[int, float, npt.NDArray[np.bool_]]]] = [[] for _ in range(classes)]
    for n, found in enumerate(detections):
        span = slice(frames.starts[n], frames.starts[n + 1])
        predicted = pixel_boxes(found.boxes, height, width)
        true, kinds = pixel_boxes(frames.boxes[span], height, width), frames.classes[span]
        for kind in np.unique(found.classes):
            mine = (found.classes == kind).nonzero()[0][:MAX_DETECTIONS]
            hits = _match(overlaps(predicted[mine], true[kinds == kind]))
            rows[kind] += [(n, score, hit) for score, hit in zip(found.scores[mine], hits, strict=True)]
    return [
        _sort(rows[kind], np.bincount(owners[frames.classes == kind], minlength=len(frames))) for kind in range(classes)
    ]


def _sort(rows: Sequence[tuple[int, float, npt.NDArray[np.bool_]]], truth: Integers) -> ClassMatches:
    order = np.argsort([-score for _, score, _ in rows], kind="stable")
    where = np.array([n for n, _, _ in rows], np.int64)[order]
    hits = np.array([hit for *_, hit in rows], bool).reshape(-1, len(IOUS))[order]
    return ClassMatches(where, hits.T, truth.astype(np.float64))


def _match(shared: Doubles) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield the IoUs at which each detection, best first, matches a still free box, from their overlaps [A, B]."""
    free = np.ones((len(IOUS), shared.shape[1]), bool)
    for row in shared[:, ::-1]:  # of boxes that are overlapped equally, COCO's evaluation matches the last
        if not len(row) or row.max() < IOUS[0]:
            yield np.zeros(len(IOUS), bool)
            continue
        usable = np.where(free, row, -1)
        best = usable.argmax(axis=1)
        hit = usable.max(axis=1) >= IOUS
        free[hit, best[hit]] = False
        yield hit


def interval(samples: Doubles, confidence: float) -> tuple[float, float] | None:
    """Return the two-sided percentile interval of the samples [B] that are not NaN; None if none is left.

    The ends are samples themselves: the outer one where a percentile falls between two.
    """
    known = samples[~np.isnan(samples)]
    if not len(known):
        return None
    tail = (1 - confidence) / 2
    return float(np.quantile(known, tail, method="lower")), float(np.quantile(known, 1 - tail, method="higher"))
