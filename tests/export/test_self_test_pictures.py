"""What a release states and carries to be tried by: its budgets, and pictures with the model's answers."""

import json

import cv2
import numpy as np
import pytest

from sim2edge.edge.judgement.self_test import parse_self_test
from sim2edge.errors import BadInput
from sim2edge.export.budgets import state_cpu_ms
from sim2edge.export.self_test_pictures import choose_pictures, describe_self_test
from sim2edge.recipes import perception
from sim2edge.recipes.perception_frames import Frames

Box = tuple[int, float]
"""Class, and the side of a square box as a share of the image."""


def make_frames(*frames: tuple[int, list[Box]]) -> Frames:
    """Frames with a floor and boxes each."""
    boxes = [box for _, boxes in frames for box in boxes]
    corners = np.array([(0, 0, side, side) for _, side in boxes], np.float32).reshape(-1, 4)
    return Frames(
        images=np.zeros((len(frames), 32, 32, 3), np.uint8),
        floors=np.array([floor for floor, _ in frames]),
        starts=np.concatenate([[0], np.cumsum([len(boxes) for _, boxes in frames])]).astype(np.int64),
        boxes=corners,
        classes=np.array([kind for kind, _ in boxes], np.int64),
        distances_m=np.ones(len(boxes), np.float32),
        names=tuple(map(str, range(len(frames)))),
    )


@pytest.mark.parametrize(
    ("frames", "count", "chosen"),
    [
        (make_frames((0, []), (0, [(1, 0.2)]), (0, [(1, 0.5)])), 1, [2]),  # the largest
        (
            make_frames((0, [(1, 0.5)]), (0, [(1, 0.6)]), (0, [(2, 0.1)])),
            2,
            [1, 2],
        ),  # another class before a larger one
        (make_frames((0, [(1, 0.3), (2, 0.3)]), (0, [(1, 0.3)]), (0, [(2, 0.3)])), 1, [0]),
        (make_frames((0, []), (1, []), (0, [])), 2, [0, 1]),  # without obstacles: one of each floor
        (make_frames((0, []), (0, [])), 4, [0, 1]),  # no more than there are
        (make_frames((0, [(0, 0.5)]), (0, [(0, 0.4)]), (0, [(0, 0.3)])), 3, [0, 1, 2]),
    ],
)
def test_pictures_show_the_most_kinds_by_their_labels(frames: Frames, count: int, chosen: list[int]) -> None:
    assert choose_pictures(frames, count) == chosen


@pytest.mark.parametrize(
    ("latency_ms", "rate_hz", "stated"),
    [(None, 10, 80), (None, 2, 400), (2.0, 10, 20), (70.0, 10, 80), (0.6, 100, 8)],
)
def test_processor_time_is_stated_by_the_profile(latency_ms: float | None, rate_hz: float, stated: float) -> None:
    assert state_cpu_ms(latency_ms, rate_hz) == stated


class Network:
    """A network that sees one chair, or gives what it is made with."""

    input_shape = (1, 32, 32, 3)

    def __init__(self, floor: float = 1.0) -> None:
        cells = sum(rows * columns for rows, columns in perception.grid_shapes(32, 32))
        self.floor = np.array([[floor, 0, 0, 0, 0]], np.float32)
        self.obstacles = np.full((1, cells, 15), -20, np.float32)
        self.obstacles[0, 5] = [8, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]

    def run(self, _: object) -> dict[str, np.ndarray]:
        return {"floor": self.floor, "obstacles": self.obstacles}


JPEG = cv2.imencode(".jpg", np.zeros((32, 32, 3), np.uint8))[1].tobytes()
NAMES = (perception.CLASSES, perception.FLOORS)


def test_what_is_recorded_is_what_a_device_reads() -> None:
    described = describe_self_test(Network(), {"self-test-1.jpg": JPEG}, perception.signature(32, 32), *NAMES)
    test = parse_self_test(json.loads(json.dumps(described, allow_nan=False)))
    (answer,) = test.answers
    (chair,) = answer.obstacles
    assert (chair.label, chair.box, chair.distance_m) == (perception.CLASSES[2], (0.25, 0.25, 0.5, 0.5), 1.0)
    assert answer.peaks[:4] == (8, 0, 0, 9)
    assert 0.9 <= test.tolerance.logits <= 1


def test_an_obstacle_near_the_threshold_is_not_promised() -> None:
    signature = perception.signature(32, 32, score_threshold=0.9)
    described = describe_self_test(Network(), {"self-test-1.jpg": JPEG}, signature, *NAMES)
    assert described["pictures"][0]["obstacles"] == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_whose_outputs_are_not_finite_is_not_exported(value: float) -> None:
    with pytest.raises(BadInput, match=r"output 'floor' is not finite for self-test-1\.jpg"):
        describe_self_test(Network(value), {"self-test-1.jpg": JPEG}, perception.signature(32, 32), *NAMES)
