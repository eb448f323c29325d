"""The comparison of a detector's answers with the expected ones: rounding passes, another model does not."""

from dataclasses import replace

import numpy as np
import pytest

from sim2edge.edge.detector.detection import Obstacle
from sim2edge.edge.judgement.self_test import Answer, Tolerance, find_difference, overlap

TOLERANCE = Tolerance(logits=0.5, score=0.15, distance=0.25, iou=0.5)
THRESHOLD = 0.4
CHAIR = Obstacle("chair", 0.8, (0.2, 0.2, 0.4, 0.4), 2.0)
ANSWER = Answer("self-test-1.jpg", (3.0, -1.0), (4.0, 5.0), (CHAIR,))
FAR = (0.6, 0.6, 0.8, 0.8)


def differ(obstacles: list[Obstacle], floor: float = 3.0, peak: float = 5.0) -> str:
    outputs = {
        "floor": np.array([[floor, -1.0]], np.float32),
        "obstacles": np.array([[[4.0, 0.0], [-9.0, peak]]], np.float32),
    }
    return find_difference(ANSWER, outputs, obstacles, TOLERANCE, THRESHOLD)


@pytest.mark.parametrize(
    "seen",
    [
        [CHAIR],
        [replace(CHAIR, confidence=0.7, distance_m=2.3, box=(0.21, 0.2, 0.42, 0.4))],
        [CHAIR, Obstacle("box", 0.5, FAR, 1.0)],  # near the threshold: it may come and go
        [CHAIR, replace(CHAIR, label="box", confidence=0.45)],  # so may a second name for the same
    ],
)
def test_what_rounding_causes_passes(seen: list[Obstacle]) -> None:
    assert differ(seen) == ""
    assert differ(seen, floor=3.4, peak=4.6) == ""


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ([], "the chair at 2.00 m is not found"),
        ([replace(CHAIR, box=FAR)], "the chair at 2.00 m is not found"),
        ([replace(CHAIR, label="person")], "the chair at 2.00 m is taken for: person"),
        ([replace(CHAIR, distance_m=4.0)], "the chair at 2.00 m is seen at 4.00 m"),
        ([replace(CHAIR, confidence=0.5)], "the chair has the score 0.50 instead of 0.80"),
        ([CHAIR, Obstacle("box", 0.9, FAR, 1.0)], "a box is found that is not there, with the score 0.90"),
    ],
)
def test_another_answer_is_named(seen: list[Obstacle], words: str) -> None:
    assert differ(seen) == words


@pytest.mark.parametrize(
    ("floor", "peak", "words"),
    [
        (4.0, 5.0, "floor logits are 1 from those of the release, more than 0.5"),
        (3.0, 7.0, "obstacle logits are 2 from those of the release, more than 0.5"),
        (np.nan, 5.0, "an output is not finite"),
        (3.0, np.inf, "an output is not finite"),
    ],
)
def test_other_logits_are_named(floor: float, peak: float, words: str) -> None:
    assert differ([CHAIR], floor, peak) == words


def test_boxes_overlap_by_what_they_share() -> None:
    assert overlap((0, 0, 1, 1), (0, 0, 1, 1)) == 1
    assert overlap((0, 0, 1, 1), (0.5, 0, 1.5, 1)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (1, 0, 2, 1)) == 0
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0
