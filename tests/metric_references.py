"""Compare every metric with that of pycocotools and scikit-learn, on random and adversarial sets of boxes.

python tests/metric_references.py --sets 1000     # prints the largest difference of each
"""

import argparse
import contextlib
import io
from collections.abc import Sequence

import numpy as np
from metric_sets import FLOORS, Boxes, make_set
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import accuracy_score, auc, confusion_matrix, precision_recall_fscore_support, roc_auc_score

from sim2edge.recipes.perception import Detections
from sim2edge.recipes.perception_frames import DatasetTable, Frames
from sim2edge.recipes.perception_metrics import best_threshold
from sim2edge.validate.bootstrap import IOUS
from sim2edge.validate.metrics import Evaluation, above, evaluate


def coco_matches(frames: Frames, detections: Sequence[Detections], any_class: bool) -> list[np.ndarray]:
    """Match at IoU 0.5 by pycocotools: per frame the true box of each detection (-1: none), in the detections' order.

    With `any_class` a detection may match a box of another class, and all detections of a frame compete.
    """
    evaluation = coco_of(frames, detections, any_class)
    evaluation.params.iouThrs, evaluation.params.maxDets = np.array([0.5]), [10_000]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    matched = [np.full(len(found.scores), -1) for found in detections]
    first_found = np.cumsum([1, *(len(found.scores) for found in detections)])
    for each in filter(None, evaluation.evalImgs):
        n = each["image_id"] - 1
        for found, true in zip(each["dtIds"], each["dtMatches"][0].astype(int), strict=True):
            matched[n][found - first_found[n]] = true - 1 - frames.starts[n] if true else -1
    return matched


def coco_of(frames: Frames, detections: Sequence[Detections], one_class: bool = False) -> COCOeval:
    """Everything as pycocotools' evaluation takes it, in double precision; with `one_class` as if all were of one."""
    height, width = frames.images.shape[1:3]

    def entries(n: int, boxes: Boxes, kinds: np.ndarray, **values: np.ndarray) -> list[dict]:
        corners = boxes.astype(np.float64) * [width, height, width, height]
        sizes = corners[:, 2:] - corners[:, :2]
        return [
            {"image_id": n + 1, "category_id": 1 if one_class else int(kind) + 1,
             "bbox": [*corner[:2].tolist(), *size.tolist()], "area": float(size[0] * size[1]), "iscrowd": 0,
             **{name: float(each[i]) for name, each in values.items()}}
            for i, (kind, corner, size) in enumerate(zip(kinds, corners, sizes, strict=True))
        ]  # fmt: skip

    spans = [slice(frames.starts[n], frames.starts[n + 1]) for n in range(len(frames))]
    true = [each for n, span in enumerate(spans) for each in entries(n, frames.boxes[span], frames.classes[span])]
    seen = [each for n, f in enumerate(detections) for each in entries(n, f.boxes, f.classes, score=f.scores)]
    classes = {each["category_id"] for each in true + seen}
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(len(frames), classes, true), _coco(len(frames), classes, seen), "bbox")
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    return evaluation


def _coco(frames: int, classes: set[int], annotations: list[dict]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": n + 1} for n in range(frames)],
        "categories": [{"id": kind} for kind in classes],
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def coco_precisions(frames: Frames, detections: Sequence[Detections], classes: int) -> np.ndarray:
    """Return pycocotools' AP of each class at each IoU, [classes, IoUs]; NaN where there is no true box."""
    evaluation, found = coco_of(frames, detections), np.full((classes, len(IOUS)), np.nan)
    if evaluation.params.catIds:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()
            evaluation.accumulate()
        precision = evaluation.eval["precision"][..., 0, -1]  # [IoU, recall, class]; -1: no true box
        known = np.array(evaluation.params.catIds) - 1
        found[known] = np.where(precision[0, 0] < 0, np.nan, precision.mean(axis=1)).T
    return found


def apart(ours: object, reference: object) -> float:
    """The largest absolute difference of two arrays; infinite where only one of them has a number."""
    ours, reference = np.asarray(ours, float), np.asarray(reference, float)
    assert ours.shape == reference.shape, f"{ours.shape} {reference.shape}"
    if (np.isnan(ours) != np.isnan(reference)).any():
        return np.inf
    return float(np.nan_to_num(np.abs(ours - reference)).max(initial=0))


def differences(frames: Frames, found: Sequence[Detections], classes: int) -> dict[str, float]:
    """How far every figure of the product is from that of the reference."""
    threshold = best_threshold(frames, found)
    table = DatasetTable(
        tuple(map(str, range(classes))),
        tuple(map(str, range(FLOORS))),
        32,
        32,
        (0.5,) * 3,
        (0.2,) * 3,
        (1.0,) * classes,
    )
    evaluation = evaluate(frames, found, table, threshold, weights=np.ones((1, len(frames))))
    assert evaluation.samples is not None
    return {
        **precision_differences(frames, found, classes, evaluation),
        **obstacle_differences(frames, found, classes, evaluation, threshold),
        **floor_differences(frames, found, evaluation),
        "F1 below the best": f1_below_the_best(frames, found, threshold),
    }


def precision_differences(
    frames: Frames, found: Sequence[Detections], classes: int, evaluation: Evaluation
) -> dict[str, float]:
    """Average precisions, and those of a resample that draws every frame once, against pycocotools."""
    precisions, metrics, samples = coco_precisions(frames, found, classes), evaluation.metrics, evaluation.samples
    known = precisions[~np.isnan(precisions[:, 0])]
    at_50, at_50_95 = (known[:, 0].mean(), known.mean()) if len(known) else (np.nan, np.nan)
    return {
        "mAP@50": apart(metrics["map_50"], at_50),
        "mAP@50-95": apart(metrics["map_50_95"], at_50_95),
        "AP@50 of a class": apart([each["ap_50"] for each in metrics["classes"].values()], precisions[:, 0]),
        "mAP@50, resampled": apart(samples["map_50"], [at_50]),
        "mAP@50-95, resampled": apart(samples["map_50_95"], [at_50_95]),
        "AP@50 of a class, resampled": apart(samples["class_ap_50"], precisions[None, :, 0]),
    }


def obstacle_differences(
    frames: Frames, found: Sequence[Detections], classes: int, evaluation: Evaluation, threshold: float
) -> dict[str, float]:
    """Confusion, precision, recall and F1 at the threshold against matches of pycocotools counted by scikit-learn."""
    kept = [above(each, threshold) for each in found]
    truth, predicted = [], []
    for n, (seen, matched) in enumerate(zip(kept, coco_matches(frames, kept, any_class=True), strict=True)):
        kinds = frames.classes[frames.starts[n] : frames.starts[n + 1]]
        missed = [kind for index, kind in enumerate(kinds) if index not in matched]
        truth += [*np.append(kinds, classes)[matched], *missed]
        predicted += [*seen.classes, *[classes] * len(missed)]
    table = confusion_matrix(truth, predicted, labels=range(classes + 1)) if truth else np.zeros((classes + 1,) * 2)
    rates = rates_of(truth, predicted, classes)
    metrics = evaluation.metrics["classes"].values()
    return {
        "confusion of obstacles": apart(evaluation.obstacle_confusion, table),
        **{
            f"{name} of a class": apart([each[name] for each in metrics], rate[:classes])
            for name, rate in zip(("precision", "recall", "f1"), rates, strict=True)
        },
    }


def floor_differences(frames: Frames, found: Sequence[Detections], evaluation: Evaluation) -> dict[str, float]:
    """Accuracy, confusion, rates and ROC of the floors against scikit-learn."""
    probabilities = np.array([each.floor for each in found])
    predicted = probabilities.argmax(axis=1)
    metrics = evaluation.metrics["floors"].values()
    rates = rates_of(frames.floors, predicted, FLOORS)
    areas = [
        roc_auc_score(true, probabilities[:, floor]) if 0 < true.mean() < 1 else np.nan
        for floor in range(FLOORS)
        for true in [frames.floors == floor]
    ]
    drawn = [auc(*evaluation.floor_curves[name]) if name in evaluation.floor_curves else np.nan for name in "012"]
    return {
        "floor accuracy": apart(evaluation.metrics["floor_accuracy"], accuracy_score(frames.floors, predicted)),
        "confusion of floors": apart(
            evaluation.floor_confusion, confusion_matrix(frames.floors, predicted, labels=range(FLOORS))
        ),
        "ROC AUC of a floor": apart([each.get("roc_auc", np.nan) for each in metrics], areas),
        "area under a drawn ROC": apart(drawn, areas),
        **{
            f"{name} of a floor": apart([each[name] for each in metrics], rate)
            for name, rate in zip(("precision", "recall", "f1"), rates, strict=True)
        },
    }


def rates_of(truth: Sequence[int], predicted: Sequence[int], count: int) -> Sequence[np.ndarray]:
    """scikit-learn's precision, recall and F1 of each of `count` values; NaN: undefined."""
    if not len(truth):
        return np.full((3, count), np.nan)
    return precision_recall_fscore_support(truth, predicted, labels=range(count), zero_division=np.nan)[:3]


def f1_below_the_best(frames: Frames, found: Sequence[Detections], threshold: float) -> float:
    """How much F1 the threshold loses against the best of all thresholds, each tried by itself."""
    hits = np.concatenate([matched >= 0 for matched in coco_matches(frames, found, any_class=False)])
    scores = np.concatenate([each.scores for each in found])

    def f1(limit: float) -> float:
        kept = scores >= limit
        return 2 * hits[kept].sum() / max(1, kept.sum() + len(frames.boxes))

    wide = scores.astype(np.float64) >= threshold
    assert (wide == (scores >= np.float32(threshold))).all(), "single and double precision keep other detections"
    return max((f1(limit) for limit in np.unique(scores)), default=0.0) - f1(threshold)


def largest_differences(seeds: Sequence[int]) -> dict[str, tuple[float, int]]:
    """The largest difference of each figure over sets of these seeds, and the seed of the set."""
    largest: dict[str, tuple[float, int]] = {}
    for seed in seeds:
        for name, difference in differences(*make_set(seed)).items():
            largest[name] = max(largest.get(name, (-1.0, seed)), (difference, seed))
    return largest


def main() -> None:
    """Print the largest difference of every figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=1000, help="number of random and adversarial sets")
    count = parser.parse_args().sets
    print(f"largest difference over {count} sets:")
    for name, (difference, seed) in largest_differences(range(count)).items():
        print(f"{name:30} {difference:.2g} (set {seed})")


if __name__ == "__main__":
    main()
