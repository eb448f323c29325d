"""Scanners that are mounted in any way, through whole logs: what is left of the robot is on its left in the episode."""

import math

import numpy as np
import pytest
from foxglove import messages
from ingest.foreign_logs import (
    START_NS,
    TICK_NS,
    Sent,
    changed,
    header,
    tf,
    tf_message,
    turned,
    write_bag,
    write_foxglove,
)

from sim2edge.config import load
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.understand import understand

AHEAD, LEFT, BEHIND, RIGHT = 1.0, 2.0, 3.0, 4.0
SEEN = np.repeat([BEHIND, RIGHT, AHEAD, LEFT, BEHIND], [45, 90, 90, 90, 45])
"""What an upright scanner that faces ahead sees, from behind counter-clockwise."""
TRUE = {180: AHEAD, 270: LEFT, 0: BEHIND, 90: RIGHT}


def scanned(yaw_deg: int, flipped: bool = False) -> list[float]:
    """What a scanner mounted so sees of the same world, beam i at -180 + i degrees of its own."""
    own = np.arange(360) - 180
    there = yaw_deg - own if flipped else yaw_deg + own
    return SEEN[(there + 180) % 360].tolist()


def drive(ranges: list[float], *transforms: Sent, frame: str = "laser") -> list[Sent]:
    def change(sent: Sent) -> Sent:
        if sent[0] != "/scan":
            return sent
        step = math.tau / 360
        angles = {"angle_min": -math.pi, "angle_max": math.pi - step, "angle_increment": step, "ranges": ranges}
        return *sent[:3], sent[3] | angles | {"header": header(sent[2], frame)}

    return [*transforms, *changed(change, ticks=6)]


def understood(path, sent: list[Sent], *words: str):
    return understand(write_bag(path / "a.mcap", sent), load(IngestConfig, "ingest", overrides=list(words)))


def directions(episode) -> dict[int, float]:
    return {beam: float(episode.log.streams["scan"].values[0][beam]) for beam in TRUE}


MOUNTINGS = [(180, False), (90, False), (-37, False), (0, True), (180, True), (90, True), (20, True)]


@pytest.mark.parametrize(("yaw", "flipped"), MOUNTINGS)
def test_a_scanner_mounted_by_the_transform_tree(tmp_path, yaw, flipped):
    mount = tf_message(tf("base", "laser", turned(180 * flipped, 0, yaw)))
    episode = understood(tmp_path, drive(scanned(yaw, flipped), mount))
    assert directions(episode) == TRUE
    assert str(episode.log.scanner.mounting).endswith("(transform tree: base -> laser)")


@pytest.mark.parametrize(("yaw", "flipped"), MOUNTINGS)
def test_a_scanner_mounted_by_the_pose_in_its_messages(tmp_path, yaw, flipped):
    x, y, z, w = turned(180 * flipped, 0, yaw)
    pose = messages.Pose(
        position=messages.Vector3(x=0.1, y=0, z=0.2), orientation=messages.Quaternion(x=x, y=y, z=z, w=w)
    )
    path = write_foxglove(tmp_path / "a.mcap", 3, mounted={"pose": pose, "ranges": scanned(yaw, flipped)})
    assert directions(understand(path, FOXGLOVE)) == TRUE


FOXGLOVE = load(
    IngestConfig, "ingest", overrides=["topics.image=/front", "topics.scan=/laser", "topics.command=/drive"]
)


def test_the_pose_in_a_message_is_within_its_frame(tmp_path):
    """On a plate turned by 90 degrees, the scanner upside down: foxglove's own transforms and pose."""
    x, y, z, w = turned(yaw=90)
    plate = messages.FrameTransform(
        parent_frame_id="base_link", child_frame_id="plate", rotation=messages.Quaternion(x=x, y=y, z=z, w=w)
    )
    below = messages.Pose(orientation=messages.Quaternion(x=1, y=0, z=0, w=0))
    mounted = {"pose": below, "frame_id": "plate", "ranges": scanned(90, flipped=True)}
    path = write_foxglove(tmp_path / "a.mcap", 3, mounted=mounted, transforms=[plate])
    assert directions(understand(path, FOXGLOVE)) == TRUE


def test_a_chain_over_several_frames_and_a_lift_that_moves_without_turning(tmp_path):
    up = [
        tf_message(tf("base", "lift", turned(), START_NS + tick, at=(0.0, 0.1 * tick)), topic="/tf")
        for tick in range(5)
    ]
    rest = tf_message(tf("lift", "arm", turned(roll=180)), tf("arm", "laser", turned(pitch=180)))
    episode = understood(tmp_path, drive(scanned(180), *up, rest))
    assert directions(episode) == TRUE


def test_the_robots_frame_beside_the_scanners_not_above_it(tmp_path):
    """Odometry names base_link, the scanner hangs on base_footprint, as both do in many robots."""
    both = tf_message(tf("base_footprint", "base", turned()), tf("base_footprint", "laser", turned(yaw=180)))
    assert directions(understood(tmp_path, drive(scanned(180), both))) == TRUE


def test_transforms_recorded_late_and_leading_slashes(tmp_path):
    sent = drive(scanned(180), frame="/laser")
    sent.append(tf_message(tf("/base", "/laser", turned(yaw=180)), log_time_ns=START_NS + 5 * TICK_NS))
    assert directions(understood(tmp_path, sent)) == TRUE


def test_a_frame_named_otherwise_is_named_in_the_config(tmp_path):
    sent = drive(scanned(90), tf_message(tf("chassis", "laser", turned(yaw=90)), tf("map", "chassis", turned(yaw=10))))
    with pytest.raises(BadLog, match=r"only laser, chassis, map: frames.base=<frame> names the robot's frame"):
        understood(tmp_path, sent)
    assert directions(understood(tmp_path, sent, "frames.base=chassis")) == TRUE


def test_without_a_transform_of_the_frame_the_mounting_is_assumed(tmp_path):
    other = tf_message(tf("odom", "base", turned(yaw=50)), topic="/tf")
    episode = understood(tmp_path, drive(scanned(0), other))
    assert directions(episode) == TRUE
    assert str(episode.log.scanner.mounting).endswith("(assumed: the log has no transform of 'laser')")


@pytest.mark.parametrize(
    ("words", "yaw", "flipped"),
    [(["lidar.yaw_deg=180"], 180, False), (["lidar.upside_down=true"], 0, True), (["lidar.yaw_deg=0"], 0, False)],
)
def test_the_config_wins_over_the_tree(tmp_path, words, yaw, flipped):
    wrong = tf_message(tf("base", "laser", turned(pitch=30)))
    episode = understood(tmp_path, drive(scanned(yaw, flipped), wrong), *words)
    assert directions(episode) == TRUE
    assert str(episode.log.scanner.mounting).endswith("(set in the config)")


def spinning() -> list[Sent]:
    return [
        tf_message(tf("base", "laser", turned(yaw=9 * tick), START_NS + tick * TICK_NS), topic="/tf")
        for tick in range(9)
    ]


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([tf_message(tf("base", "laser", turned(pitch=15)))], r"tilted by 15.0 degrees \(roll 0.0, pitch 15.0"),
        ([tf_message(tf("base", "laser", (0, 0, 0, 0)))], "base -> laser: the quaternion .* its norm is 0, not 1"),
        ([tf_message(tf("base", "laser", (0, 0, math.nan, 1)))], "base -> laser: the quaternion"),
        (spinning(), "the transform base -> laser turns by up to 72.0 degrees in this log"),
        (
            [tf_message(tf("left", "laser", turned()), tf("right", "laser", turned()))],
            "frame 'laser' has two parents: left, right",
        ),
        (
            [tf_message(tf("laser", "arm", turned()), tf("arm", "laser", turned()))],
            "goes round in circles: laser -> arm -> laser",
        ),
    ],
)
def test_a_mounting_that_cannot_be(tmp_path, transforms, message):
    with pytest.raises(BadLog, match=message) as refused:
        understood(tmp_path, drive(scanned(0), *transforms))
    assert str(refused.value).startswith("/scan: the scanner's frame 'laser': ")
    assert str(refused.value).endswith("lidar.yaw_deg and lidar.upside_down say how the scanner is mounted")


def test_what_is_wrong_with_other_frames_does_not_matter(tmp_path):
    """A wheel that turns, a camera without a rotation, two localisations of the robot."""
    others = tf_message(
        tf("base", "laser", turned(yaw=90)), tf("base", "camera", (0, 0, 0, 0)),
        tf("odom", "base", turned()), tf("map", "base", turned()),
    )  # fmt: skip
    wheel = [tf_message(tf("base", "wheel", turned(pitch=30 * tick)), topic="/tf") for tick in range(9)]
    assert directions(understood(tmp_path, drive(scanned(90), others, *wheel))) == TRUE


def test_a_pose_without_an_orientation_is_refused(tmp_path):
    nothing = dict.fromkeys("xyzw", 0.0)

    def change(sent: Sent) -> Sent:
        if sent[0] != "/odom":
            return sent
        pose = {"position": {"x": 1.0, "y": 0.0, "z": 0.0}, "orientation": nothing}
        return *sent[:3], sent[3] | {"pose": {"pose": pose}}

    with pytest.raises(BadLog, match=r"/odom: message 0: the quaternion \(0, 0, 0, 0\) is no rotation"):
        understood(tmp_path, changed(change))
