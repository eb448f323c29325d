"""The checker: silent about true labels, one line about each of ten that were made wrong."""

import math

import numpy as np
import pytest
from capture.hand_made import CAMERA, look, make_spec, solid, stand

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.footprints import distance_to, hull_distance, make_obstacle, placed_footprints
from sim2edge.capture.label_check import check_labels
from sim2edge.capture.labels import Labeller
from sim2edge.capture.obstacles import SHAPES
from sim2edge.episodes.moment import Pose

CONFIG = CaptureConfig()


@pytest.fixture(scope="module")
def scene():
    """A crate and a barrel side by side: the spec, what is seen of it, and its labels."""
    crate = stand(0, "box", 1.6, 0.45, solid("box", (0.2, 0.2, 0.2), (0, 0, 0.2)), yaw=0.3)
    barrel = stand(1, "cylinder", 1.4, -0.4, solid("cylinder", (0.18, 0.3), (0, 0, 0.3)))
    spec = make_spec([crate, barrel])
    view = look(spec, CONFIG)
    return spec, view, Labeller(spec, CONFIG).label(view)


def errors(scene, **changes) -> list[str]:
    """What is said when the crate's label is changed."""
    spec, view, labels = scene
    crate, barrel = labels.boxes
    wrong = labels.model_copy(update={"boxes": (crate.model_copy(update=changes), barrel)})
    return check_labels(wrong, view, spec, CONFIG)


def test_true_labels_pass(scene):
    spec, view, labels = scene
    assert check_labels(labels, view, spec, CONFIG) == []


@pytest.mark.parametrize("seed", range(16))
def test_true_labels_of_a_random_room_pass(seed):
    rng = np.random.default_rng(seed)
    names = [name for name in SHAPES for _ in range(2)]
    obstacles = []
    for name in names:
        parts = SHAPES[name](rng)
        where = rng.uniform(-3.5, 3.5, 2).tolist()
        candidate = stand(len(obstacles), name, *where, *parts, yaw=rng.uniform(-3, 3))
        (hull,) = placed_footprints(candidate)
        others = [other for obstacle in obstacles for other in placed_footprints(obstacle)]
        if distance_to(hull, 0, 0) > 0.25 and all(hull_distance(hull, other) > 0.12 for other in others):
            obstacles.append(candidate)
    camera = CAMERA.model_copy(update={"yaw_deg": rng.uniform(-2, 2), "roll_deg": rng.uniform(-1.5, 1.5)})
    spec = make_spec(obstacles, Pose(0, 0, rng.uniform(-3, 3)), size=(8, 8), camera=camera)
    view = look(spec, CONFIG)
    assert check_labels(Labeller(spec, CONFIG).label(view), view, spec, CONFIG) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"instance": 7}, "box 7: there is no such instance"),
        ({"label": "chair"}, "chair 0: the obstacle is a box"),
        ({"x_min": 20.0}, "box 0: the box (20.0"),
        ({"y_max": 125.0}, "box 0: the box"),
        ({"bearing_rad": -0.3}, "box 0: bearing -0.300 rad is column"),
        ({"distance_m": 1.55}, "box 0: distance 1.55 m, but the LiDAR hits it at"),
        ({"distance_m": 1.05}, "box 0: distance 1.05 m, but"),
        ({"occlusion": 1.2}, "box 0: occlusion 1.2 is not within 0..1"),
        ({"occlusion": 0.6}, "box 0: occlusion 0.60, but"),
        ({"truncation": 0.4}, "box 0: truncation 0.40, but all of it is in the image"),
        ({"size_m": (0.3, 0.4, 0.4)}, "box 0: its footprint leaves the 3D box by 0.05 m"),
        ({"yaw_rad": 0.3 + math.pi / 4}, "box 0: its footprint leaves the 3D box"),
        ({"position_m": (1.6, 0.45, 0.3)}, "box 0: the 3D box is 0.10..0.50 m high, its top is at 0.40 m"),
    ],
)
def test_a_wrong_box_is_found_and_named(scene, change, words):
    found = errors(scene, **change)
    assert any(line.startswith(words) for line in found), found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"floor": "wood"}, "floor: wood, but it is tile"),
        ({"floor_under": "rug"}, "floor_under: rug, but it is tile"),
        ({"free_m": (1.0,)}, "free_m: 1 sectors, not 12"),
        ({"free_m": (0.5,) * 12}, "free_m[0]: 0.50 m, but the least range is"),
        ({"boxes": ()}, "box 0: "),
    ],
)
def test_a_wrong_frame_is_found(scene, change, words):
    spec, view, labels = scene
    found = check_labels(labels.model_copy(update=change), view, spec, CONFIG)
    assert found
    assert found[0].startswith(words)


def test_a_camera_mounted_otherwise_than_the_spec_says_is_found(scene):
    """The simulator tilts the camera 5 degrees more than told: everything is seen too high up."""
    spec, _, _ = scene
    tilted = spec.model_copy(update={"camera": spec.camera.model_copy(update={"tilt_deg": 13.0})})
    view = look(tilted, CONFIG)
    found = check_labels(Labeller(spec, CONFIG).label(view), view, spec, CONFIG)
    assert any("leaves the silhouette's bounds" in line for line in found)


def test_an_instance_labelled_twice_is_found(scene):
    spec, view, labels = scene
    twice = labels.model_copy(update={"boxes": (*labels.boxes, labels.boxes[0])})
    assert "instance 0: labelled 2 times" in check_labels(twice, view, spec, CONFIG)


def test_what_stands_beyond_the_scan_is_no_complaint():
    """No beam returns from the far crate, which is farther than the scan reaches."""
    spec = make_spec([stand(0, "box", 4.0, 0.1, solid("box", (0.3, 0.3, 0.3), (0, 0, 0.3)))], size=(12, 12))
    view = look(spec, CONFIG)
    view.ranges[view.ranges > 3] = np.inf
    labels = Labeller(spec, CONFIG).label(view)
    assert [found.instance for found in labels.boxes] == [0]
    assert check_labels(labels, view, spec, CONFIG) == []


@pytest.mark.parametrize(
    "start", [Pose(0.5, 0.1, 0.2), Pose(1.2, 0.0, 0.1), Pose(1.5, -0.1, -0.6), Pose(0.2, 1.2, -0.6)]
)
def test_the_way_through_a_door_frame_is_no_complaint(start):
    jambs = [[solid("box", (0.05, 0.05, 1.0), (0, side * 0.6, 1.0))] for side in (-1, 1)]
    lintel = [solid("box", (0.05, 0.65, 0.05), (0, 0, 2.0))]
    frame = make_obstacle(0, "door_frame", Pose(1.6, 0, 0), jambs, overhead=lintel)
    spec = make_spec([frame], start)
    view = look(spec, CONFIG)
    assert check_labels(Labeller(spec, CONFIG).label(view), view, spec, CONFIG) == []
