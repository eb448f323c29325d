"""Measure the quality of an exported variant, and its distance from the trained network, on the same frames.

Pure functions over raw outputs; the caller runs the models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim2edge.recipes import perception
from sim2edge.recipes.perception import Detections
from sim2edge.recipes.perception_frames import Frames
from sim2edge.recipes.perception_metrics import (
    SCORE_FLOOR,
    floor_accuracy,
    match_detections,
    mean_average_precision,
)

Outputs = Mapping[str, NDArray[np.float32]]
"""Raw outputs of N images: floor [N, floors], obstacles [N, cells, values]."""

Counts = NDArray[np.int64]
"""Matched, detected and true obstacles of each class: [3, classes]."""


@dataclass(frozen=True)
class Quality:
    """Quality of a model on held-out frames; all 0..1."""

    floor_accuracy: float
    map50: float | None
    """None: the frames hold no obstacle."""
    precision: float
    recall: float
    f1: float
    class_f1: Mapping[str, float | None]
    """None: the frames hold no obstacle of that class."""


@dataclass(frozen=True)
class Distance:
    """Distance of a variant from the trained network."""

    difference: Mapping[str, float]
    """Largest absolute difference of each raw output."""
    floor_agreement: float
    """Share of frames with the same floor, 0..1."""
    agreement: float
    """F1 of the variant's detections with those of the trained network as the truth, 0..1."""


def rounded(quality: Quality) -> dict[str, Any]:
    """Return the fields of `quality` as JSON values with four decimals."""
    return {
        name: (
            {label: None if f1 is None else round(f1, 4) for label, f1 in value.items()}
            if isinstance(value, Mapping)
            else None if value is None else round(float(value), 4)
        )
        for name, value in asdict(quality).items()
    }


def measure_quality(
    outputs: Outputs, frames: Frames, postprocess: Mapping[str, Any], classes: Sequence[str]
) -> Quality:
    """Evaluate raw outputs against the truth."""
    found = decode_all(outputs, postprocess)
    everything = decode_all(outputs, {**postprocess, "score_threshold": SCORE_FLOOR})
    counts = count_against_truth(found, frames, len(classes))
    precision, recall, f1 = rates(counts.sum(axis=1))
    return Quality(
        floor_accuracy=floor_accuracy(frames, found),
        map50=mean_average_precision(frames, everything, len(classes))[0],
        precision=precision,
        recall=recall,
        f1=f1,
        class_f1={n: rates(counts[:, i])[2] if counts[2, i] else None for i, n in enumerate(classes)},
    )


def measure_distance(outputs: Outputs, reference: Outputs, postprocess: Mapping[str, Any], classes: int) -> Distance:
    """Compare a variant's raw outputs with those of the trained network."""
    found, expected = decode_all(outputs, postprocess), decode_all(reference, postprocess)
    counts = sum(
        (
            count_matches(seen, wanted.boxes, wanted.classes, classes)
            for seen, wanted in zip(found, expected, strict=True)
        ),
        np.zeros((3, classes), np.int64),
    )
    same_floor = outputs["floor"].argmax(axis=1) == reference["floor"].argmax(axis=1)
    return Distance(
        difference={name: float(np.abs(outputs[name] - reference[name]).max()) for name in reference},
        floor_agreement=float(same_floor.mean()),
        agreement=rates(counts.sum(axis=1))[2],
    )


def decode_all(outputs: Outputs, postprocess: Mapping[str, Any]) -> list[Detections]:
    """Return the detections of every image."""
    return perception.decode(outputs["floor"], outputs["obstacles"], **postprocess)


def count_against_truth(found: Sequence[Detections], frames: Frames, classes: int) -> Counts:
    """Count the matches of the detections of every frame with its true boxes."""
    counts = np.zeros((3, classes), np.int64)
    for n, seen in enumerate(found):
        span = slice(frames.starts[n], frames.starts[n + 1])
        counts += count_matches(seen, frames.boxes[span], frames.classes[span], classes)
    return counts


def count_matches(seen: Detections, boxes: perception.Floats, kinds: perception.Integers, classes: int) -> Counts:
    """Count the matches of one image's detections with true boxes of the same class."""
    hits = match_detections(seen, boxes, kinds) >= 0
    return np.stack([np.bincount(part, minlength=classes) for part in (seen.classes[hits], seen.classes, kinds)])


def rates(counts: Counts) -> tuple[float, float, float]:
    """Return precision, recall and F1 from matched, detected and true; all 1 without any detected or true obstacle."""
    matched, detected, true = (int(count) for count in counts)
    if not detected and not true:
        return 1.0, 1.0, 1.0
    return matched / max(detected, 1), matched / max(true, 1), 2 * matched / (detected + true)
