"""The shared metrics agree with cases that can be worked out by hand."""

import numpy as np
import pytest

from sim2edge.recipes.perception import Detections
from sim2edge.recipes.perception_frames import Frames
from sim2edge.recipes.perception_metrics import (
    best_threshold,
    coco_results,
    floor_accuracy,
    match_detections,
    mean_average_precision,
    overlaps,
    round_results,
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


def test_scores_that_agree_in_five_decimals_keep_their_order():
    """Rounded, they are equal, and the wrong one, which comes first, is counted before the right one."""
    wrong, right = seen(SQUARES[1:], [0.7], [0]), seen(SQUARES[:1], [0.700001], [0])
    frames = frames_with(SQUARES[:1], [0], count=2)
    frames.starts[:] = [0, 0, 1]
    assert mean_average_precision(frames, [wrong, right], 1)[0] == pytest.approx(1)


def test_a_box_is_not_rounded_before_it_is_compared():
    """Of 100 px: a true box of 0.05 px by 50 px, and a detection of exactly 3/5 of it."""
    thin = np.array([[0.25, 0.25, 0.25 + 2**-11, 0.75]], np.float32)
    part = thin * [1, 1, 1, 0] + np.float32([0, 0, 0, 0.55])
    at_50, at_50_95, _ = mean_average_precision(frames_with(thin, [0]), [seen(part, [0.9], [0])], 1)
    assert (at_50, at_50_95) == (pytest.approx(1), pytest.approx(0.3))


def test_only_the_file_is_rounded():
    (result,) = coco_results([seen([[0.1, 0.2, 0.3, 0.4]], [0.123456789], [2])], 96, 128)
    assert result["score"] == np.float32(0.123456789)
    assert result["bbox"][0] == np.float64(np.float32(0.1)) * 128
    assert round_results([result]) == [
        {"image_id": 1, "category_id": 3, "bbox": [12.8, 19.2, 25.6, 19.2], "score": 0.12346}
    ]


def test_without_a_true_box_there_is_no_precision():
    found = [seen(SQUARES, [0.9, 0.8], [0, 1])]
    assert mean_average_precision(frames_with([], []), found, 2) == (None, None, [None, None])
    assert mean_average_precision(frames_with([], []), [seen([], [], [])], 2) == (None, None, [None, None])


def test_overlaps_of_known_boxes():
    boxes = np.array([[0, 0, 1, 1], [0.5, 0, 0.5, 1], [0, 0, 0.25, 1], [0.1, 0.1, 0, 0.5]])
    expected = [[1, 0.5, 0.25, 0], [0.5, 1, 0, 0], [0.25, 0, 1, 0], [0, 0, 0, 0]]
    assert overlaps(boxes, boxes).tolist() == expected


def test_a_true_box_is_found_once():
    found = seen([SQUARES[0], SQUARES[0], SQUARES[1]], [0.9, 0.8, 0.7], [0, 0, 0])
    assert match_detections(found, SQUARES, np.array([0, 1])).tolist() == [0, -1, -1]
    assert match_detections(found, SQUARES, np.array([0, 1]), same_class=False).tolist() == [0, -1, 1]


def test_the_working_threshold_leaves_out_what_is_wrong():
    found = seen([SQUARES[0], SQUARES[1], [0, 0.8, 0.1, 0.9]], [0.9, 0.6, 0.4], [0, 1, 0])
    assert best_threshold(frames_with(SQUARES, [0, 1]), [found]) == pytest.approx(0.5), "halfway from 0.6 to 0.4"
    assert best_threshold(frames_with(SQUARES, [0, 1]), [seen([], [], [])]) == 0.5


@pytest.mark.parametrize(
    ("scores", "low", "high"),
    [
        ([0.98, 0.97], 0.97, 0.98),  # above every grid
        ([0.020001, 0.02], 0.02, 0.020001),
        ([1.0, np.nextafter(np.float32(1), np.float32(0))], 1 - 2**-24, 1.0),  # nothing lies between
        ([0.03], 0.01, 0.03),
        ([0.0], -0.1, 0.0),
    ],
)
def test_the_working_threshold_keeps_the_best_detection_and_leaves_out_the_next(scores, low, high):
    """The second detection, where there is one, is wrong."""
    found = seen([SQUARES[0], [0, 0.8, 0.1, 0.9]][: len(scores)], scores, [0, 0][: len(scores)])
    threshold = best_threshold(frames_with(SQUARES[:1], [0]), [found])
    assert np.float32(low) < threshold <= np.float32(high)
    assert (found.scores >= threshold).tolist() == [True, False][: len(scores)]


def test_equal_scores_are_kept_together():
    """Two right ones, and at the score of the second three wrong ones: only the first alone is better."""
    wrong = [0, 0.8, 0.1, 0.9]
    found = seen([SQUARES[0], SQUARES[1], wrong, wrong, wrong], [0.9, 0.5, 0.5, 0.5, 0.5], [0, 1, 0, 0, 0])
    assert best_threshold(frames_with(SQUARES, [0, 1]), [found]) == pytest.approx(0.7)


def test_floor_accuracy():
    frames = frames_with([], [], count=2)
    frames.floors[:] = [0, 1]
    assert floor_accuracy(frames, [seen([], [], [])] * 2) == 0.5
