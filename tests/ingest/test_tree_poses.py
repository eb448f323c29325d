"""Poses of logs in which only the transform tree has them."""

import math

import numpy as np
import pytest
from ingest.foreign_logs import START_NS, Sent, changed, tf, tf_message, turned, write_bag

from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.understand import Understood, understand

STEP_NS = 50_000_000


def link(parent: str, child: str, tick: int, at: tuple[float, float], yaw_deg: float = 0.0) -> Sent:
    now = START_NS + tick * STEP_NS
    return tf_message(tf(parent, child, turned(yaw=yaw_deg), now, at), topic="/tf", log_time_ns=now)


def ingest(path, *transforms: Sent) -> Understood:
    drive = changed(lambda sent: None if sent[0] == "/odom" else sent)
    sent = sorted([*drive, *transforms], key=lambda message: message[2])
    return understand(write_bag(path / "a.mcap", sent), IngestConfig())


def poses(episode: Understood) -> np.ndarray:
    return np.array([episode.log.streams["pose"].values[number] for number in episode.ticks.chosen["pose"]])


ODOM = [link("odom", "base_link", tick, (0.05 * tick, 1.0), 2.0 * tick) for tick in range(24)]


def test_odometry_in_the_tree_is_the_pose(tmp_path):
    episode = ingest(tmp_path, *ODOM)
    ticks = np.arange(12)
    expected = np.stack([0.1 * ticks, np.ones(12), np.radians(4.0 * ticks)], axis=1)
    np.testing.assert_allclose(poses(episode), expected, atol=1e-9)
    assert episode.notes == ("no topic has poses: taken from /tf (odom -> base_link)",)


def test_a_fixed_link_below_and_a_map_alone(tmp_path):
    """The robot's frame hangs below the one that moves, turned; the map is a quarter turn to the left."""
    moving = [link("map", "odometry", 0, (5.0, 0.0), 90.0)]
    moving += [link("odometry", "base_footprint", tick, (0.05 * tick, 0.0)) for tick in range(24)]
    fixed = tf_message(tf("base_footprint", "base_link", turned(yaw=90), at=(0.2, 0.0)))
    found = poses(ingest(tmp_path, *moving, fixed))
    np.testing.assert_allclose(found[:, 0], 5.0, atol=1e-9)
    np.testing.assert_allclose(found[:, 1], 0.2 + 0.1 * np.arange(12), atol=1e-9)
    np.testing.assert_allclose(np.abs(found[:, 2]), math.pi, atol=1e-9)


@pytest.mark.parametrize("speed", [0.05, 0.0])
def test_a_fixed_link_that_two_nodes_send_ahead_of_time_gives_no_times(tmp_path, speed):
    """ROS 1's robot_state_publisher stamps fixed links half a second ahead, and another node the same link now."""
    moving = [link("odom", "base_footprint", tick, (speed * tick, 0.0)) for tick in range(24)]
    fixed = []
    for half in range(48):
        now = START_NS + half * STEP_NS // 2
        ahead = 500_000_000 if half % 2 else 0
        about = tf("base_footprint", "base_link", turned(), now + ahead, (0.0, 1.0))
        fixed.append(tf_message(about, topic="/tf", log_time_ns=now))
    found = poses(ingest(tmp_path, *moving, *fixed))
    np.testing.assert_allclose(found[:, 0], 2 * speed * np.arange(12), atol=1e-9)
    np.testing.assert_allclose(found[:, 1], 1.0, atol=1e-9)


def test_a_topic_with_poses_wins(tmp_path):
    sent = sorted([*changed(lambda each: each), *ODOM], key=lambda message: message[2])
    assert understand(write_bag(tmp_path / "a.mcap", sent), IngestConfig()).log.streams["pose"].topic == "/odom"


def test_a_transform_that_is_no_rotation(tmp_path):
    wrong = tf_message(tf("odom", "base_link", (0, 0, 0, 0)), topic="/tf")
    with pytest.raises(BadLog, match=r"/tf \(odom -> base_link\): the quaternion .* its norm is 0"):
        ingest(tmp_path, wrong, *ODOM)


def test_a_tree_that_does_not_move_has_no_poses(tmp_path):
    still = tf_message(tf("odom", "base_link", turned()))
    assert "pose" not in ingest(tmp_path, still).log.streams
