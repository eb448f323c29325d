"""The LiDAR against walls and boxes whose distance can be computed, its noise, and its file."""

import math

import numpy as np
import pytest
from capture.hand_made import look, make_spec, solid, stand

from sim2edge.capture.config import CaptureConfig, Lidar3dConfig, LidarConfig
from sim2edge.capture.lidar_capture import cloud_directions, disturb, disturb_cloud
from sim2edge.capture.seeds import generator
from sim2edge.episodes.formats import beam_angles, write_csv
from sim2edge.episodes.moment import LIDAR_HEIGHT_M, Pose


def test_beams_cover_the_turn_once_counter_clockwise_centred_ahead():
    angles = beam_angles(LidarConfig(beams=360))
    assert angles[0] == -math.pi
    assert angles[180] == pytest.approx(0)
    assert np.diff(angles) == pytest.approx(math.radians(1))
    half = beam_angles(LidarConfig(beams=181, fov_deg=180))
    assert half[[0, 90, 180]] == pytest.approx([-math.pi / 2, 0, math.pi / 2])


def wall_distance(pose: Pose, angles: np.ndarray) -> np.ndarray:
    """Distance to the walls of a 6 x 4 m room."""
    x, y = np.cos(angles + pose.yaw_rad), np.sin(angles + pose.yaw_rad)
    with np.errstate(divide="ignore"):
        return np.minimum((3 * np.sign(x) - pose.x_m) / x, (2 * np.sign(y) - pose.y_m) / y)


@pytest.mark.parametrize("start", [Pose(0, 0, 0.01), Pose(1.5, -0.7, 2.1), Pose(-2.5, 1.6, -0.4)])
def test_ranges_agree_with_the_walls(small, start):
    ranges = look(make_spec(start=start), small).ranges
    assert ranges == pytest.approx(wall_distance(start, beam_angles(small.lidar)), abs=1e-6)


def test_a_box_to_the_left_shortens_the_beams_to_the_left(small, room_with):
    ranges = look(room_with((0, 1.0, 0.3)), small).ranges
    assert ranges[270] == pytest.approx(0.7, abs=0.01)
    assert ranges[90] == pytest.approx(2.0, abs=0.01)


def test_noise_dropout_and_range_limits():
    config = LidarConfig(noise_m=0.02, dropout=0.1, min_range_m=0.2, max_range_m=5)
    scan = disturb(np.full(20_000, 2.0), config, np.random.default_rng(0))
    kept = scan[np.isfinite(scan)]
    assert 1 - len(kept) / len(scan) == pytest.approx(0.1, abs=0.01)
    assert kept.std() == pytest.approx(0.02, rel=0.05)
    clean = LidarConfig(noise_m=0, dropout=0, min_range_m=0.2, max_range_m=5)
    odd = disturb(np.array([0.1, 0.2, 5.0, 5.1, np.inf]), clean, np.random.default_rng(0))
    assert odd.tolist() == [np.inf, 0.2, 5.0, np.inf, np.inf]


def test_the_csv_holds_one_row_a_scan(tmp_path):
    write_csv(tmp_path / "lidar.csv", [0.0, 0.1], [np.array([1.0, np.inf]), np.array([0.5, 2.25])])
    assert (tmp_path / "lidar.csv").read_text() == "time_s,r000,r001\n0.000,1.0000,inf\n0.100,0.5000,2.2500\n"


def test_the_wide_preset_spans_270_degrees():
    angles = beam_angles(LidarConfig(preset="1081_over_270"))
    assert len(angles) == 1081
    assert np.degrees([angles[0], angles[540], angles[-1]]) == pytest.approx([-135, 0, 135])
    assert np.degrees(np.diff(angles)) == pytest.approx(0.25)


def test_the_directions_of_the_3d_lidar():
    directions = cloud_directions(Lidar3dConfig(layers=5, columns=16, vertical_fov_deg=40))
    assert directions.shape == (5, 16, 3)
    assert np.linalg.norm(directions, axis=2) == pytest.approx(1)
    elevation = np.degrees(np.arcsin(directions[..., 2]))
    assert elevation[:, 3] == pytest.approx([-20, -10, 0, 10, 20])
    azimuth = np.degrees(np.arctan2(directions[..., 1], directions[..., 0]))
    assert azimuth[2, ::4] % 360 == pytest.approx([180, 270, 0, 90])


def test_the_cloud_lies_on_walls_and_obstacles():
    """Every hit, taken back into the room, is on the surface of the crate, or on one of the walls."""
    config = CaptureConfig(lidar_3d=Lidar3dConfig(enabled=True))
    spec = make_spec([stand(0, "box", 1.5, 0.2, solid("box", (0.2, 0.3, 0.4), (0, 0, 0.4)))], size=(6, 4))
    cloud = look(spec, config).cloud
    returned = cloud < np.inf
    points = cloud_directions(config.lidar_3d)[returned] * cloud[returned][:, None] + (0, 0, LIDAR_HEIGHT_M)
    x, y, z = points.T
    in_crate = (abs(x - 1.5) < 0.2001) & (abs(y - 0.2) < 0.3001)
    on_wall = np.isclose(abs(x), 3) | np.isclose(abs(y), 2)
    above = z > 0
    assert (in_crate | on_wall)[above].all()
    assert in_crate.sum() > 20
    assert cloud[8:, 180].min() == pytest.approx(1.3 / math.cos(math.radians(1)), abs=0.001)


def test_the_cloud_is_disturbed_and_ends_at_its_range():
    config = Lidar3dConfig(max_range_m=5, noise_m=0.05)
    exact = np.full((16, 360), 2.0)
    exact[0] = 6.0
    exact[1] = np.inf
    reported = disturb_cloud(exact, config, generator("0", "cloud"))
    assert np.isinf(reported[:2]).all()
    assert reported[2:].std() == pytest.approx(0.05, rel=0.1)
