"""Compare a detector's answers with those recorded when its release was exported, within the release's tolerances.

    test = parse_self_test(signature["self_test"])
    for expected in test.answers:
        difference = find_difference(expected, outputs, obstacles, test.tolerance, score_threshold)

Processors round differently, so an obstacle near the score threshold may come and go: only those well above it count.
What a release states about itself is not trusted blindly: a tolerance that would accept anything is refused.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim2edge.edge.detector.detection import Obstacle
from sim2edge.errors import BadInput

Outputs = Mapping[str, NDArray[np.float32]]

MAX_PICTURES = 16
MAX_LOGIT_SHARE = 0.25
"""Largest tolerance of logits, as a share of the largest expected one (at least 1)."""
MAX_SCORE, MAX_DISTANCE_SHARE, MIN_IOU = 0.3, 0.5, 0.3


@dataclass(frozen=True)
class Tolerance:
    """The differences that rounding on another processor may cause."""

    logits: float
    """Of each logit, absolute."""
    score: float
    """Of an obstacle's score, absolute."""
    distance: float
    """Of an obstacle's distance, as a share of it."""
    iou: float
    """Least overlap of an obstacle's box with the expected one, 0..1."""


@dataclass(frozen=True)
class Answer:
    """The expected result for one picture of the release."""

    picture: str
    """Name of the member of the bundle, a JPEG."""
    floor: tuple[float, ...]
    """Floor logits."""
    peaks: tuple[float, ...]
    """Largest value of each output value of an obstacle over all cells, see `find_peaks`."""
    obstacles: tuple[Obstacle, ...]
    """Those well above the threshold; boxes as fractions of the picture."""


@dataclass(frozen=True)
class SelfTest:
    """The self-test of a release."""

    tolerance: Tolerance
    answers: tuple[Answer, ...]


def parse_self_test(content: Any) -> SelfTest:
    """Parse `self_test` of a signature.

    Raises:
        BadInput: a part is missing or of the wrong type, a number is not finite, or a tolerance would accept anything.
    """
    try:
        answers = tuple(_parse_answer(each) for each in content["pictures"])
        numbers = {name: float(content["tolerance"][name]) for name in ("logits", "score", "distance", "iou")}
    except KeyError as error:
        raise BadInput(f"self_test: {error} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"self_test: of the wrong type: {error}") from error
    if not 0 < len(answers) <= MAX_PICTURES:
        raise BadInput(f"self_test: {len(answers)} pictures; expected 1 to {MAX_PICTURES}")
    values = [value for each in answers for value in (*each.floor, *each.peaks)]
    check_tolerance("self_test.tolerance.logits", numbers["logits"], MAX_LOGIT_SHARE * largest(values))
    check_tolerance("self_test.tolerance.score", numbers["score"], MAX_SCORE)
    check_tolerance("self_test.tolerance.distance", numbers["distance"], MAX_DISTANCE_SHARE)
    if not MIN_IOU <= numbers["iou"] <= 1:
        raise BadInput(f"self_test.tolerance.iou: {numbers['iou']:g} is not between {MIN_IOU} and 1")
    return SelfTest(Tolerance(**numbers), answers)


def _parse_answer(content: Any) -> Answer:
    answer = Answer(
        picture=str(content["file"]),
        floor=tuple(map(float, content["floor"])),
        peaks=tuple(map(float, content["peaks"])),
        obstacles=tuple(_parse_obstacle(each) for each in content["obstacles"]),
    )
    numbers = [value for each in answer.obstacles for value in (each.confidence, each.distance_m, *each.box)]
    if not all(map(math.isfinite, (*answer.floor, *answer.peaks, *numbers))):
        raise BadInput(f"self_test: {answer.picture}: an expected number is not finite")
    return answer


def _parse_obstacle(content: Any) -> Obstacle:
    left, top, right, bottom = map(float, content["box"])
    score, distance = float(content["score"]), float(content["distance_m"])
    return Obstacle(str(content["label"]), score, (left, top, right, bottom), distance)


def check_tolerance(name: str, value: float, limit: float) -> None:
    """Check that a tolerance neither accepts everything nor nothing.

    Raises:
        BadInput: it is not a number above 0, or larger than `limit`.
    """
    if not math.isfinite(value) or value <= 0:
        raise BadInput(f"{name}: {value:g} is not a number above 0")
    if value > limit:
        raise BadInput(f"{name}: {value:g} would accept anything; at most {limit:.3g} is meaningful")


def largest(values: Sequence[float]) -> float:
    """Return the largest absolute value, at least 1."""
    return max(1.0, *map(abs, values))


def find_peaks(obstacles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest of each value over all cells of one image's raw output [1, cells, values].

    It characterises an output even of a network that is sure of no obstacle, and the order of its classes.
    """
    peaks: NDArray[np.float32] = obstacles[0].max(axis=0)
    return peaks


def find_difference(
    answer: Answer, outputs: Outputs, obstacles: Sequence[Obstacle], tolerance: Tolerance, threshold: float
) -> str:
    """Return how an answer differs from the expected one by more than the tolerance; empty: it does not.

    Args:
        answer: the expected one.
        outputs: raw outputs for the picture.
        obstacles: what was decoded from them; boxes as fractions.
        tolerance: of the release.
        threshold: score below which obstacles are dropped.
    """
    if not all(np.isfinite(output).all() for output in outputs.values()):
        return "an output is not finite"
    pairs = {
        "floor logits": (outputs["floor"][0], answer.floor),
        "obstacle logits": (find_peaks(outputs["obstacles"]), answer.peaks),
    }
    for what, (given, expected) in pairs.items():
        if fault := compare_logits(what, given, expected, tolerance.logits):
            return fault
    return compare_obstacles(obstacles, answer.obstacles, tolerance, threshold)


def compare_logits(what: str, given: NDArray[np.float32], expected: Sequence[float], tolerance: float) -> str:
    """Return how logits differ by more than the tolerance; empty: they do not."""
    if given.shape != (len(expected),):
        return f"{given.size} {what} instead of {len(expected)}"
    apart = float(np.abs(given - np.asarray(expected, np.float32)).max())
    return "" if apart <= tolerance else f"{what} are {apart:.3g} from those of the release, more than {tolerance:.3g}"


def compare_obstacles(
    found: Sequence[Obstacle], expected: Sequence[Obstacle], tolerance: Tolerance, threshold: float
) -> str:
    """Return which sure obstacle is missing, differs or was not expected; empty: none."""
    for wanted in expected:
        near = [each for each in found if overlap(each.box, wanted.box) >= tolerance.iou]
        if not near:
            return f"the {wanted.label} at {wanted.distance_m:.2f} m is not found"
        alike = [each for each in near if each.label == wanted.label]
        if not alike:
            return f"the {wanted.label} at {wanted.distance_m:.2f} m is taken for: {near[0].label}"
        best = max(alike, key=lambda each: overlap(each.box, wanted.box))
        if abs(best.distance_m - wanted.distance_m) > tolerance.distance * wanted.distance_m:
            return f"the {wanted.label} at {wanted.distance_m:.2f} m is seen at {best.distance_m:.2f} m"
        if abs(best.confidence - wanted.confidence) > tolerance.score:
            return f"the {wanted.label} has the score {best.confidence:.2f} instead of {wanted.confidence:.2f}"
    for each in found:
        sure = each.confidence >= threshold + 2 * tolerance.score
        if sure and not any(overlap(each.box, wanted.box) >= tolerance.iou for wanted in expected):
            return f"a {each.label} is found that is not there, with the score {each.confidence:.2f}"
    return ""


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the intersection over union of two boxes (x_min, y_min, x_max, y_max)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)
