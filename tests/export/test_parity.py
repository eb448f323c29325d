"""Comparing raw outputs: with the truth, and with those of the trained network."""

import numpy as np
import pytest

from sim2edge.export.judged import camera_images, spread
from sim2edge.export.latency import summarise
from sim2edge.export.parity import measure_distance, measure_quality, rates
from sim2edge.recipes import perception
from sim2edge.recipes.perception_frames import Frames

HEIGHT, WIDTH = 32, 32
CELLS = 20
POSTPROCESS = perception.signature(HEIGHT, WIDTH)
CLASSES = perception.CLASSES


def outputs_with(*claims: tuple[int, int, int], images: int = 2, floor: int = 0) -> dict[str, np.ndarray]:
    """Raw outputs in which (image, cell, class) claim obstacles of one cell's size."""
    floors = np.zeros((images, len(perception.FLOORS)), np.float32)
    floors[:, floor] = 5
    obstacles = np.zeros((images, CELLS, 1 + len(CLASSES) + 5), np.float32)
    obstacles[..., 0] = -20
    for image, cell, kind in claims:
        obstacles[image, cell, 0] = 9
        obstacles[image, cell, 1 + kind] = 9
    return {"floor": floors, "obstacles": obstacles}


def frames_with(*boxes: tuple[int, int, int], images: int = 2) -> Frames:
    """Frames in which (image, cell, class) hold obstacles of one cell's size."""
    geometry = perception.cell_geometry(POSTPROCESS["grids"])
    ordered = sorted(boxes)
    centres = geometry[[cell for _, cell, _ in ordered]].reshape(-1, 4)
    return Frames(
        images=np.zeros((images, HEIGHT, WIDTH, 3), np.uint8),
        floors=np.zeros(images, np.int64),
        starts=np.cumsum([0, *(sum(image == n for image, _, _ in ordered) for n in range(images))]),
        boxes=np.hstack([centres[:, :2] - centres[:, 2:] / 2, centres[:, :2] + centres[:, 2:] / 2]),
        classes=np.array([kind for _, _, kind in ordered], np.int64),
        distances_m=np.ones(len(ordered), np.float32),
        names=tuple(f"row {n}" for n in range(images)),
    )


def test_outputs_that_say_the_truth_are_perfect() -> None:
    quality = measure_quality(
        outputs_with((0, 5, 2), (1, 9, 0)), frames_with((0, 5, 2), (1, 9, 0)), POSTPROCESS, CLASSES
    )
    assert (quality.floor_accuracy, quality.precision, quality.recall, quality.f1) == (1, 1, 1, 1)
    assert quality.map50 == pytest.approx(1)
    assert quality.class_f1["box"] == 1
    assert quality.class_f1["table"] is None


def test_a_wrong_class_a_miss_and_a_phantom_cost() -> None:
    said = outputs_with((0, 5, 2), (0, 10, 1), (1, 9, 0), floor=1)
    quality = measure_quality(said, frames_with((0, 5, 2), (0, 15, 3), (1, 9, 4)), POSTPROCESS, CLASSES)
    assert quality.floor_accuracy == 0
    assert quality.precision == pytest.approx(1 / 3)
    assert quality.recall == pytest.approx(1 / 3)
    assert 0 < quality.map50 < 0.5


def test_the_distance_from_the_trained_network() -> None:
    trained, variant = outputs_with((0, 5, 2), (1, 9, 0)), outputs_with((0, 5, 2))
    variant["floor"] = variant["floor"] + np.float32(0.25)
    variant["floor"][1] = [0, 9, 0, 0, 0]
    distance = measure_distance(variant, trained, POSTPROCESS, len(CLASSES))
    assert distance.agreement == pytest.approx(2 / 3)
    assert distance.floor_agreement == 0.5
    assert distance.difference == pytest.approx({"floor": 9, "obstacles": 29})


def test_a_network_is_no_distance_from_itself() -> None:
    outputs = outputs_with((0, 5, 2), (0, 10, 2))
    distance = measure_distance(outputs, outputs, POSTPROCESS, len(CLASSES))
    assert (distance.agreement, distance.floor_agreement) == (1, 1)
    assert set(distance.difference.values()) == {0}


def test_nothing_found_where_nothing_is_counts_as_right() -> None:
    assert rates(np.array([0, 0, 0])) == (1, 1, 1)
    assert rates(np.array([0, 3, 0])) == (0, 0, 0)
    assert rates(np.array([2, 4, 2])) == (0.5, 1, pytest.approx(2 / 3))


def test_frames_are_taken_evenly_with_their_own_boxes() -> None:
    frames = frames_with(*((image, image, image % 6) for image in range(10) if image % 2), images=10)
    few = spread(frames, 4)
    assert few.names == ("row 0", "row 3", "row 6", "row 9")
    assert few.starts.tolist() == [0, 0, 1, 1, 2]
    assert few.classes.tolist() == [3, 3]
    assert np.array_equal(few.boxes, frames.boxes[[1, 4]])
    assert spread(frames, 10) is frames


def test_a_camera_gives_blue_first() -> None:
    frames = frames_with(images=1)
    frames.images[0] = (1, 2, 3)
    (image,) = camera_images(frames)
    assert image[0, 0].tolist() == [3, 2, 1]


def test_percentiles_are_in_milliseconds() -> None:
    latency = summarise([0.001, 0.002, 0.003])
    assert (latency.p50_ms, latency.p95_ms) == (2, 2.9)
