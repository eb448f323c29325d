"""The shared metrics agree with cases that can be worked out by hand."""

import numpy as np
import pytest

from sim2edge.recipes.perception import Detections
from sim2edge.recipes.perception_frames import Frames
from sim2edge.recipes.perception_metrics import (
    best_threshold,
    floor_accuracy,
    match_detections,
    mean_average_precision,
)

SQUARES = np.array([[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.9, 0.9]], np.float32)


def frames_with(boxes, classes, count=1):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    starts = np.array([0] + [len(boxes)] * count)
    images = np.zeros((count, 100, 100, 3), np.uint8)
    classes = np.asarray(classes, np.int64)
    return Frames(
        images, np.zeros(count, np.int64), starts, boxes, classes, np.ones(len(boxes), np.float32), ("a",) * count
    )


def seen(boxes, scores, classes):
    boxes, scores = np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(scores, np.float32)
    floor = np.array([0.7, 0.3], np.float32)
    return Detections(floor, boxes, scores, np.asarray(classes, np.int64), np.ones(len(scores), np.float32))


def test_perfect_detections_score_one():
    at_50, at_50_95, classes = mean_average_precision(
        frames_with(SQUARES, [0, 1]), [seen(SQUARES, [0.9, 0.8], [0, 1])], 3
    )
    assert (at_50, at_50_95) == (pytest.approx(1), pytest.approx(1))
    assert classes == [pytest.approx(1), pytest.approx(1), None]


def test_a_missed_class_counts_as_zero():
    at_50, _, classes = mean_average_precision(frames_with(SQUARES, [0, 1]), [seen(SQUARES[:1], [0.9], [0])], 2)
    assert at_50 == pytest.approx(0.5)
    assert classes == [pytest.approx(1), pytest.approx(0)]


def test_a_loose_box_counts_at_50_but_not_at_95():
    loose = SQUARES[:1] + np.array([[0, 0, 0.05, 0.05]], np.float32)  # IoU 0.64
    at_50, at_50_95, _ = mean_average_precision(frames_with(SQUARES[:1], [0]), [seen(loose, [0.9], [0])], 1)
    assert at_50 == pytest.approx(1)
    assert at_50_95 == pytest.approx(0.3)


def test_nothing_detected_scores_zero():
    assert mean_average_precision(frames_with(SQUARES, [0, 0]), [seen([], [], [])], 2) == (0.0, 0.0, [0.0, None])


def test_a_true_box_is_found_once():
    found = seen([SQUARES[0], SQUARES[0], SQUARES[1]], [0.9, 0.8, 0.7], [0, 0, 0])
    assert match_detections(found, SQUARES, np.array([0, 1])).tolist() == [0, -1, -1]
    assert match_detections(found, SQUARES, np.array([0, 1]), same_class=False).tolist() == [0, -1, 1]


def test_the_working_threshold_leaves_out_what_is_wrong():
    found = seen([SQUARES[0], SQUARES[1], [0, 0.8, 0.1, 0.9]], [0.9, 0.6, 0.4], [0, 1, 0])
    assert best_threshold(frames_with(SQUARES, [0, 1]), [found]) == pytest.approx(0.6)
    assert best_threshold(frames_with(SQUARES, [0, 1]), [seen([], [], [])]) == 0.5


def test_floor_accuracy():
    frames = frames_with([], [], count=2)
    frames.floors[:] = [0, 1]
    assert floor_accuracy(frames, [seen([], [], [])] * 2) == 0.5
