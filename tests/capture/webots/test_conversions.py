"""What is converted on the way to and from Webots: beams, colours, rotations, contacts."""

import math

import numpy as np
import pytest
from standin_engine import layer_angles

from sim2edge.capture.config import CaptureConfig, Lidar3dConfig, LidarConfig
from sim2edge.capture.room_simulator import draw_episode
from sim2edge.capture.simulator import NO_INSTANCE, WALL
from sim2edge.capture.webots.colours import MAX_INSTANCES, instance_colour, read_instances
from sim2edge.capture.webots.contacts import touched_at
from sim2edge.capture.webots.geometry import axis_angle, camera_rotation, horizontal_fov, quaternion_matrix
from sim2edge.capture.webots.scanner import Scanner, read_ranges, scanner_2d, scanner_3d
from sim2edge.episodes.formats import beam_angles


def column_angles(scanner: Scanner) -> np.ndarray:
    """Where a scanner's columns look: the middles of pixels, from the left, turned as it is mounted."""
    return scanner.yaw_rad + scanner.fov_rad * (0.5 - (np.arange(scanner.columns) + 0.5) / scanner.columns)


@pytest.mark.parametrize(
    ("beams", "fov"), [(360, 360), (1081, 270), (8, 360), (8, 350), (8, 359), (4096, 10), (17, 180), (720, 360)]
)
def test_columns_meet_the_beams(beams, fov):
    config = LidarConfig(beams=beams, fov_deg=fov)
    scanner = scanner_2d(config)
    assert scanner.fov_rad <= math.tau + 1e-9
    image = column_angles(scanner).tolist()
    np.testing.assert_allclose(read_ranges(image, scanner)[0], beam_angles(config), atol=1e-9)


@pytest.mark.parametrize(
    ("layers", "columns", "vertical"), [(16, 360, 30), (32, 1024, 45), (128, 16, 2), (2, 2048, 120)]
)
def test_layers_and_columns_of_the_3d_scanner_meet_the_beams(layers, columns, vertical):
    config = Lidar3dConfig(layers=layers, columns=columns, vertical_fov_deg=vertical)
    scanner = scanner_3d(config)
    turns = np.tile(column_angles(scanner), layers)
    expected = -math.pi + math.tau / columns * np.arange(columns)
    np.testing.assert_allclose(read_ranges(turns.tolist(), scanner), np.tile(expected, (layers, 1)), atol=1e-9)
    rises = np.repeat(layer_angles(scanner.columns, layers, scanner.fov_rad, scanner.vertical_fov_rad), scanner.columns)
    wanted = np.radians(np.linspace(-vertical / 2, vertical / 2, layers))
    # Webots has whole rows: a layer may be a row's height off.
    row = scanner.fov_rad / scanner.columns
    np.testing.assert_allclose(read_ranges(rises.tolist(), scanner)[:, 0], wanted, atol=1.01 * row)


def test_a_range_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match="has 10 values, not 360"):
        read_ranges([1.0] * 10, scanner_2d(LidarConfig()))


def test_every_instance_has_a_colour_that_is_read_back():
    colours = np.rint(np.array([instance_colour(k) for k in range(MAX_INSTANCES)]) * 255).astype(np.uint8)
    assert len({tuple(colour) for colour in colours.tolist()}) == MAX_INSTANCES
    blue_first = np.column_stack([colours[:, ::-1], np.full(MAX_INSTANCES, 255, np.uint8)])
    assert read_instances(blue_first.tobytes(), MAX_INSTANCES, 1, MAX_INSTANCES)[0].tolist() == list(range(215))
    with pytest.raises(ValueError, match="at most 215"):
        instance_colour(MAX_INSTANCES)


def test_colours_that_drivers_changed_a_little_are_read_and_others_refused():
    blue, black = [102, 0, 0, 255], [0, 0, 0, 255]
    off = [110, 4, 0, 255]
    image = np.array([blue] * 500 + [off] * 100 + [black] * 100, np.uint8)
    assert np.unique(read_instances(image.tobytes(), 700, 1, 3)).tolist() == [NO_INSTANCE, 1]
    gamma = np.array([[170, 0, 0, 255]] * 700, np.uint8)
    with pytest.raises(ValueError, match="700 pixels of no obstacle's colour"):
        read_instances(gamma.tobytes(), 700, 1, 2)


def test_rotations_are_told_by_axis_and_angle():
    rng = np.random.default_rng(1)
    half_turns = [(0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, math.sqrt(0.5), math.sqrt(0.5), 0)]
    for quaternion in [(1, 0, 0, 0), *half_turns, *(q / np.linalg.norm(q) for q in rng.normal(size=(50, 4)))]:
        matrix = quaternion_matrix(quaternion)
        x, y, z, angle = axis_angle(matrix)
        again = quaternion_matrix((math.cos(angle / 2), *(math.sin(angle / 2) * np.array([x, y, z]))))
        np.testing.assert_allclose(again, matrix, atol=1e-9)
        assert math.hypot(x, y, z) == pytest.approx(1)


def test_a_tilted_camera_looks_down():
    spec, _ = draw_episode(CaptureConfig(), "tilt", 0)
    camera = spec.camera.model_copy(update={"tilt_deg": 10.0, "yaw_deg": 0.0, "roll_deg": 0.0})
    # Turning around y from x ahead leads down.
    assert camera_rotation(camera) == pytest.approx((0, 1, 0, math.radians(10)))
    assert math.degrees(horizontal_fov(60, 160, 120)) == pytest.approx(75.18, abs=0.01)


def test_contacts_are_told_by_what_is_nearest():
    spec, _ = draw_episode(CaptureConfig(), "contacts", 0)
    room, poses = spec.room, [obstacle.pose for obstacle in spec.room.obstacles]
    obstacle = next(one for one in room.obstacles if one.label in ("box", "cylinder", "plant"))
    inside = (obstacle.x_m, obstacle.y_m, 0.1)
    assert touched_at([inside], room, poses) == {obstacle.label}
    assert touched_at([(obstacle.x_m, obstacle.y_m, 0.0)], room, poses) == frozenset()
    wall = room.walls[0].position
    assert touched_at([(wall[0], wall[1], 0.1), inside], room, poses) == {WALL, obstacle.label}
