"""Make random and adversarial sets of true and detected boxes: ties, equal boxes, no area, absent classes."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from sim2edge.recipes.perception import Detections
from sim2edge.recipes.perception_frames import Frames

FLOORS = 3
Boxes = np.ndarray
"""[count, 4]: corners as fractions of the image."""


def random_boxes(random: Generator, count: int) -> Boxes:
    """Boxes of any size and place."""
    ends = np.sort(random.random((count, 2, 2)), axis=1)
    return ends.reshape(count, 4)


def on_a_grid(random: Generator, count: int) -> Boxes:
    """Boxes with corners on few lines: equal boxes, shared borders, overlaps of exactly 1/2 and 3/5."""
    low = random.integers(0, 8, (count, 2))
    return np.concatenate([low, low + random.integers(1, 9 - low)], axis=1) / 8


def at_the_border(random: Generator, count: int) -> Boxes:
    """Boxes that touch one border or more."""
    boxes = random_boxes(random, count)
    return np.where(random.random(boxes.shape) < 0.4, [0, 0, 1, 1], boxes)


def without_area(random: Generator, count: int) -> Boxes:
    """Boxes of which some have no width, no height or neither."""
    boxes = random_boxes(random, count)
    flat = random.random((count, 2)) < 0.4
    boxes[:, 2:] = np.where(flat, boxes[:, :2], boxes[:, 2:])
    return boxes


def tiny_and_huge(random: Generator, count: int) -> Boxes:
    """Boxes down to the spacing of float32, and of nearly the whole image."""
    low = random.random((count, 2)) * 0.5
    return np.concatenate([low, np.minimum(low + 10.0 ** random.uniform(-8, 0, (count, 2)), 1)], axis=1)


def all_the_same(random: Generator, count: int) -> Boxes:
    """One box, many times."""
    return np.repeat(random_boxes(random, 1), count, axis=0)


def side_by_side(random: Generator, count: int) -> Boxes:
    """Neighbours that one detection over two of them overlaps equally."""
    left = random.integers(0, 8, count)
    return np.column_stack([left / 8, np.zeros(count), (left + 1) / 8, np.ones(count)])


PLACES = (random_boxes, on_a_grid, at_the_border, without_area, tiny_and_huge, all_the_same, side_by_side)


def any_scores(random: Generator, count: int) -> np.ndarray:
    """Scores that differ."""
    return random.random(count)


def tied_scores(random: Generator, count: int) -> np.ndarray:
    """Few different scores."""
    return random.choice([0.2, 0.5, 0.5 + 1e-7, 0.9], count)


def extreme_scores(random: Generator, count: int) -> np.ndarray:
    """Scores of exactly 0 and 1, and their neighbours in float32."""
    return random.choice([0, 1e-38, 1 - 2**-24, 1], count)


def close_scores(random: Generator, count: int) -> np.ndarray:
    """Scores that agree in five decimals."""
    return 0.7 + random.integers(0, 100, count) * 2.0**-24


SCORES = (any_scores, tied_scores, extreme_scores, close_scores)


def near(random: Generator, boxes: Boxes) -> Boxes:
    """Boxes moved by nothing, a little, or a twentieth of the image."""
    moved = np.clip(boxes + random.normal(0, random.choice([0, 1e-6, 0.01, 0.05]), boxes.shape), 0, 1)
    return np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], axis=1)


def make_set(seed: int) -> tuple[Frames, list[Detections], int]:
    """Frames, the detections of each, and the number of classes; every seed mixes other kinds of boxes and scores."""
    random = np.random.default_rng(seed)
    places: Callable[[Generator, int], Boxes] = PLACES[seed % len(PLACES)]
    scored = SCORES[seed // len(PLACES) % len(SCORES)]
    count, classes = int(random.integers(1, 12)), int(random.integers(1, 6))
    known = random.integers(0, random.integers(1, classes + 1), 10_000)  # often a class is nowhere in the truth
    most_true, most_found = random.choice([0, 1, 5, 30]), random.choice([0, 3, 20, 150], p=[0.1, 0.3, 0.4, 0.2])
    sizes = random.integers(0, most_true + 1, count)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    boxes = places(random, starts[-1]).astype(np.float32)
    kinds = known[: starts[-1]]
    height, width = random.choice([32, 96, 100, 1080]), random.choice([32, 128, 333, 1920])
    frames = Frames(
        np.broadcast_to(np.uint8(0), (count, height, width, 3)), random.integers(0, FLOORS, count), starts,
        boxes, kinds, random.uniform(0.3, 4, starts[-1]).astype(np.float32), tuple(map(str, range(count))),
    )  # fmt: skip
    right = random.random()
    found = []
    for n in range(count):
        span = slice(starts[n], starts[n + 1])
        seen = np.concatenate([near(random, boxes[span]), places(random, random.integers(0, most_found + 1))])
        guessed = random.integers(0, classes, len(seen))
        guessed[: sizes[n]] = np.where(random.random(sizes[n]) < right, kinds[span], guessed[: sizes[n]])
        found.append(detect(random, seen, guessed, scored(random, len(seen))))
    return frames, found, classes


def detect(random: Generator, boxes: Boxes, classes: np.ndarray, scores: np.ndarray) -> Detections:
    """Detections of one frame by falling score, in any order before."""
    boxes, scores = boxes.astype(np.float32), scores.astype(np.float32)
    mixed = random.permutation(len(boxes))
    order = mixed[np.argsort(-scores[mixed], kind="stable")]
    floor = random.choice([0.25, 0.5, 0.7], FLOORS) if random.random() < 0.5 else random.random(FLOORS)
    far = random.uniform(0.3, 4, len(boxes))
    values = (boxes[order], scores[order], classes[order], far[order].astype(np.float32))
    return Detections(floor.astype(np.float32), *values)
