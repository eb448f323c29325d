"""The LiDAR against walls and boxes whose distance can be computed, its noise, and its file."""

import math

import numpy as np
import pytest

from sim2edge.capture.config import LidarConfig
from sim2edge.capture.lidar_capture import beam_angles, disturb, write_csv
from sim2edge.capture.mujoco_simulator import MujocoSimulator
from sim2edge.capture.specs import Pose


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
def test_ranges_agree_with_the_walls(small, room_with, start):
    simulator = MujocoSimulator(small, "ray")
    simulator.reset(room_with(start=start))
    view = simulator.observe()
    assert view.pose == pytest.approx(start, abs=0.01)
    # Within a millimetre wherever the beam does not graze a corner.
    assert view.ranges == pytest.approx(wall_distance(view.pose, beam_angles(small.lidar)), abs=0.02)


def test_a_box_to_the_left_shortens_the_beams_to_the_left(small, room_with):
    simulator = MujocoSimulator(small, "ray")
    simulator.reset(room_with((0, 1.0, 0.3)))
    ranges = simulator.observe().ranges
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
