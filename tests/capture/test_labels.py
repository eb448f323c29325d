"""Boxes, distances and bearings, against geometry worked out another way."""

import math

import numpy as np
import pytest

from sim2edge.capture.config import CaptureConfig, LabelConfig
from sim2edge.capture.episode import camera_pose
from sim2edge.capture.labels import find_boxes, locate
from sim2edge.capture.mujoco_simulator import MujocoSimulator
from sim2edge.capture.specs import CAMERA_AHEAD_M, Pose

CONFIG = CaptureConfig()


def project_corners(spec, half: float, x: float, y: float) -> np.ndarray:
    """Pixels (8, 2) of a cube's corners, seen from the start by a pinhole camera."""
    corners = np.array([(x + i * half, y + j * half, k * half) for i in (-1, 1) for j in (-1, 1) for k in (0, 2)])
    offset = corners - (CAMERA_AHEAD_M, 0, spec.robot.camera_height_m)
    tilt = math.radians(spec.robot.camera_tilt_deg)
    depth = offset[:, 0] * math.cos(tilt) - offset[:, 2] * math.sin(tilt)
    up = offset[:, 0] * math.sin(tilt) + offset[:, 2] * math.cos(tilt)
    focal = CONFIG.camera.height / 2 / math.tan(math.radians(CONFIG.camera.fov_deg) / 2)
    return np.stack(
        [CONFIG.camera.width / 2 - focal * offset[:, 1] / depth, CONFIG.camera.height / 2 - focal * up / depth], 1
    )


@pytest.mark.parametrize(("x", "y"), [(1.5, 0.0), (2.2, 0.8), (1.8, -0.7)])
def test_a_cube_is_boxed_where_a_pinhole_camera_sees_it(room_with, x, y):
    spec = room_with((x, y, 0.15))
    simulator = MujocoSimulator(CONFIG, "ray")
    simulator.reset(spec)
    view = simulator.observe()
    (found,) = find_boxes(view.instances, spec.room.obstacles, camera_pose(view.pose), CONFIG.labels)
    pixels = project_corners(spec, 0.15, x, y)
    expected = [*pixels.min(axis=0), *pixels.max(axis=0)]
    assert [found.x_min, found.y_min, found.x_max, found.y_max] == pytest.approx(expected, abs=1.0)
    assert found.distance_m == pytest.approx(math.hypot(x - 0.15 - CAMERA_AHEAD_M, max(0.0, abs(y) - 0.15)), abs=0.01)
    assert found.bearing_rad == pytest.approx(math.atan2(y, x - CAMERA_AHEAD_M), abs=0.01)


def test_what_stands_behind_is_boxed_by_what_is_seen_of_it(room_with):
    spec = room_with((1.0, 0.0, 0.15), (2.0, 0.35, 0.3))
    simulator = MujocoSimulator(CONFIG, "ray")
    simulator.reset(spec)
    view = simulator.observe()
    near, far = find_boxes(view.instances, spec.room.obstacles, camera_pose(view.pose), CONFIG.labels)
    assert (near.instance, far.instance) == (0, 1)
    for box in (near, far):
        rows, columns = np.nonzero(view.instances == box.instance)
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (box.x_min, box.y_min, box.x_max, box.y_max) == edges


def test_hardly_visible_objects_are_not_labelled(room_with):
    obstacles = room_with((1, 0, 0.1), (2, 0, 0.1)).room.obstacles
    instances = np.full((20, 20), -1, np.int16)
    instances[2:6, 2:8] = 0
    instances[10:20, 4:6] = 1
    config = LabelConfig(min_pixels=20, min_side_pixels=3)
    assert [box.instance for box in find_boxes(instances, obstacles, Pose(0, 0, 0), config)] == [0]


@pytest.mark.parametrize(
    ("camera", "distance", "bearing"),
    [
        (Pose(0, 0, 0), 0.8, 0.0),
        (Pose(1, 1, -math.pi / 2), 0.8, 0.0),
        (Pose(1, -1, math.pi), 0.8, -math.pi / 2),
        (Pose(0.9, 0, 0), 0, 0),
    ],
)
def test_distance_and_bearing(room_with, camera, distance, bearing):
    (obstacle,) = room_with((1, 0, 0.2)).room.obstacles
    assert locate(obstacle, camera) == pytest.approx((distance, bearing), abs=1e-3)
