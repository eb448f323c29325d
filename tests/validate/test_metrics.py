"""Figures that can be worked out by hand."""

import dataclasses

import numpy as np
import pytest

from sim2edge.recipes.perception import Detections
from sim2edge.recipes.perception_frames import DatasetTable, Frames
from sim2edge.validate.metrics import evaluate

TABLE = DatasetTable(("box", "chair"), ("wood", "tile"), 32, 32, (0.5,) * 3, (0.2,) * 3, (1.0, 1.0))
LEFT, RIGHT = [0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 1.0, 1.0]
FRAMES = Frames(
    images=np.zeros((2, 32, 32, 3), np.uint8),
    floors=np.array([0, 1]),
    starts=np.array([0, 2, 3]),
    boxes=np.array([LEFT, RIGHT, LEFT], np.float32),
    classes=np.array([0, 1, 0]),
    distances_m=np.array([1.0, 2.0, 3.0], np.float32),
    names=("a", "b"),
)


def seen(floor, *obstacles):
    """Detections from (box, score, class, distance)."""
    boxes, scores, classes, distances = zip(*obstacles, strict=True) if obstacles else ((), (), (), ())
    return Detections(
        np.array(floor, np.float32),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
        np.array(distances, np.float32),
    )


FOUND = [
    seen([0.9, 0.1], (LEFT, 0.9, 0, 1.5), (RIGHT, 0.8, 0, 9.0)),  # the chair is taken for a box
    seen([0.6, 0.4], (RIGHT, 0.7, 1, 1.0), (LEFT, 0.1, 0, 3.0)),  # a ghost; the box is seen below the threshold
]


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(FRAMES, FOUND, TABLE, threshold=0.5)


def test_floors(evaluation):
    assert evaluation.metrics["floor_accuracy"] == 0.5
    assert evaluation.floor_confusion.tolist() == [[1, 0], [1, 0]]
    wood, tile = evaluation.metrics["floors"]["wood"], evaluation.metrics["floors"]["tile"]
    assert (wood["precision"], wood["recall"], wood["f1"]) == (0.5, 1.0, pytest.approx(2 / 3))
    assert (tile["precision"], tile["recall"], tile["f1"]) == (None, 0.0, 0.0)
    assert wood["roc_auc"] == 1.0


def test_obstacles_at_the_working_threshold(evaluation):
    assert evaluation.obstacle_confusion.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]
    box, chair = evaluation.metrics["classes"]["box"], evaluation.metrics["classes"]["chair"]
    assert (box["precision"], box["recall"], box["support"]) == (0.5, 0.5, 2)
    assert (chair["precision"], chair["recall"], chair["ap_50"]) == (0.0, 0.0, pytest.approx(0))


def test_average_precision_sees_below_the_threshold(evaluation):
    assert evaluation.metrics["classes"]["box"]["ap_50"] > 0.5


def test_distances_of_what_was_found(evaluation):
    assert evaluation.metrics["distance_error_m"] == pytest.approx(0.5)


def test_obstacles_of_unknown_distance_have_no_error():
    found = [seen([0.9, 0.1], (LEFT, 0.9, 0, 1.5), (RIGHT, 0.8, 1, 2.25)), FOUND[1]]
    for known, expected in (([np.nan, 2.0, 3.0], 0.25), ([np.nan] * 3, None)):
        frames = dataclasses.replace(FRAMES, distances_m=np.array(known, np.float32))
        evaluation = evaluate(frames, found, TABLE, threshold=0.5, weights=np.ones((2, 2)))
        assert evaluation.metrics["distance_error_m"] == expected
        assert np.isnan(evaluation.samples["distance_error_m"]).all() == (expected is None)
        assert evaluation.metrics["classes"]["chair"]["recall"] == 1.0


def test_a_network_that_sees_nothing_is_measured_all_the_same():
    blind = [seen([1, 0]), seen([1, 0])]
    metrics = evaluate(FRAMES, blind, TABLE, threshold=0.5).metrics
    assert (metrics["map_50"], metrics["distance_error_m"]) == (0.0, None)
    assert metrics["classes"]["box"]["precision"] is None


def test_a_class_that_is_not_there_has_no_figures():
    only_boxes = dataclasses.replace(FRAMES, classes=np.zeros(3, np.int64))
    metrics = evaluate(only_boxes, [seen([1, 0], (LEFT, 0.9, 0, 1.0)), seen([0, 1])], TABLE, threshold=0.5).metrics
    assert metrics["classes"]["chair"]["ap_50"] is None
    assert metrics["map_50"] == metrics["classes"]["box"]["ap_50"]


def test_a_split_without_a_box_leaves_map_undefined():
    empty = dataclasses.replace(
        FRAMES, starts=np.zeros(3, np.int64), boxes=FRAMES.boxes[:0], classes=FRAMES.classes[:0],
        distances_m=FRAMES.distances_m[:0],
    )  # fmt: skip
    evaluation = evaluate(empty, FOUND, TABLE, threshold=0.5, weights=np.ones((2, 2)))
    assert (evaluation.metrics["map_50"], evaluation.metrics["map_50_95"]) == (None, None)
    assert np.isnan(evaluation.samples["map_50"]).all()
    assert evaluation.metrics["classes"]["box"]["ap_50"] is None


def test_floor_probabilities_that_are_no_numbers_are_counted(evaluation):
    assert evaluation.metrics["finite_outputs"] == 1.0
    metrics = evaluate(FRAMES, [seen([np.nan, np.nan]), seen([0.2, 0.8])], TABLE, threshold=0.5).metrics
    assert metrics["finite_outputs"] == 0.5
