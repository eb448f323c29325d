"""Sensors that always show the same while the robot drives, two senders on one topic; and robots that only stand."""

import math
from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from ingest.foreign_logs import (
    START_NS,
    TICK_NS,
    Sent,
    changed,
    header,
    jpeg,
    odometry,
    ranges,
    twist,
    write_bag,
)

from sim2edge.episodes.moment import Command, Pose
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.sensor_check import (
    check_contrast,
    check_frozen,
    check_moves,
    check_one_sender,
    check_steady,
    motion_of_commands,
    motion_of_poses,
    scan_key,
)
from sim2edge.ingest.understand import Understood, understand

IMAGE, SCAN, ODOM, COMMAND = "/camera/image_raw/compressed", "/scan", "/odom", "/cmd_vel"
TICKS = 24
Content = Callable[[int], dict]


def drive(path, **replaced: Content) -> Understood:
    """Ingest a drive of 2.3 m, in which a topic's messages have the content that a function of the tick gives."""
    topics = {"image": IMAGE, "scan": SCAN, "pose": ODOM, "command": COMMAND}
    new = {topics[role]: content for role, content in replaced.items()}

    def change(sent: Sent) -> Sent:
        if sent[0] not in new:
            return sent
        return *sent[:3], sent[3] | new[sent[0]]((sent[2] - START_NS) // TICK_NS)

    return understand(write_bag(path / "a.mcap", changed(change, TICKS)), IngestConfig())


def image(pixels: np.ndarray) -> dict:
    return {"data": bytes(cv2.imencode(".jpg", np.clip(pixels, 0, 255).astype(np.uint8))[1])}


def covered(tick: int) -> dict:
    """A lens cap: black, and the noise of the sensor."""
    return image(np.random.default_rng(tick).normal(3, 2, (48, 64, 3)))


def counted(tick: int) -> dict:
    """The same picture, to which the camera adds a comment with a counter."""
    return {"data": jpeg(1)[:-2] + b"\xff\xfe\0\x04" + bytes([tick, 0]) + b"\xff\xd9"}


def one_colour(tick: int) -> dict:
    return image(np.full((48, 64, 3), (10 * tick, 40, 90)))


def dark_room(tick: int) -> dict:
    """Shapes of a few levels, and the noise of the sensor."""
    wall = np.where(np.arange(64) < 20 + tick, 0, 6)[None, :, None]
    return image(np.random.default_rng(tick).normal(3, 2, (48, 64, 3)) + wall)


def standing(tick: int) -> dict:
    return {"pose": odometry(0, 1.0)["pose"]}


def spread(tick: int) -> dict:
    return {"pose": odometry(0, 1.0 + 0.002 * (tick % 2))["pose"]}


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"image": lambda tick: image(np.zeros((48, 64, 3)))}, f"{IMAGE}: 24 of 24 images are of one colour"),
        ({"image": covered}, f"{IMAGE}: 24 of 24 images are of one colour: is the camera covered, or off?"),
        ({"image": one_colour}, f"{IMAGE}: 24 of 24 images are of one colour"),
        ({"image": lambda tick: {"data": jpeg(1)}}, "the same image 24 times in a row, from 0.0 s on, while by"),
        ({"image": counted}, "the same image 24 times in a row"),
        ({"scan": lambda tick: {"ranges": ranges(1)}}, "/scan: the same scan 24 times in a row, .* drives 2.3 m"),
        ({"pose": standing}, "/odom: the pose never changes, but the commands ask for 1.2 m and 2.3 rad"),
        ({"pose": spread}, "/odom: the pose never changes"),
    ],
)  # fmt: skip
def test_a_sensor_that_shows_nothing_of_the_drive(tmp_path, replaced, message):
    with pytest.raises(BadLog, match=message):
        drive(tmp_path, **{"command": lambda tick: twist(0.5, 1.0)} | replaced)


def test_a_dark_room_is_taken(tmp_path):
    assert drive(tmp_path, image=dark_room).notes == ()


def test_some_dark_images_are_left_to_clean_and_told(tmp_path):
    def some(tick: int) -> dict:
        return covered(tick) if tick < 6 else {"data": jpeg(tick)}

    episode = drive(tmp_path, image=some)
    assert (episode.notes, len(episode.ticks)) == (("6 of 24 images are of one colour",), TICKS)


def test_a_robot_that_stands_shows_the_same_all_the_time(tmp_path):
    """As in a simulator without noise."""
    same = {"image": lambda tick: {"data": jpeg(1)}, "scan": lambda tick: {"ranges": ranges(1)}}
    assert len(drive(tmp_path, **same, pose=standing, command=lambda tick: twist(0, 0)).ticks) == TICKS


def test_two_senders_of_poses_on_one_topic(tmp_path):
    """Odometry, and a localisation of which the origin is elsewhere: in one frame, and in two."""
    drives = [changed(lambda sent: sent, TICKS)]
    other = [
        (*sent[:2], sent[2] + 7_000_000, odometry(sent[2] + 7_000_000, 5.0 + sent[3]["pose"]["pose"]["position"]["x"]))
        for sent in drives[0]
        if sent[0] == ODOM
    ]
    both = write_bag(tmp_path / "a.mcap", sorted([*drives[0], *other], key=lambda sent: sent[2]))
    with pytest.raises(BadLog, match=r"/odom: 95 of 95 steps from a pose to the next are jumps, of [45].*two senders"):
        understand(both, IngestConfig())
    named = [(*sent[:3], sent[3] | {"header": header(sent[2], "map")}) for sent in other]
    both = write_bag(tmp_path / "b.mcap", sorted([*drives[0], *named], key=lambda sent: sent[2]))
    with pytest.raises(BadLog, match=r"/odom: messages in several frames, 'base to base' \(48\), 'map to base' \(48\)"):
        understand(both, IngestConfig())


def test_frames_of_one_sender():
    check_one_sender("/image", {("camera", ""): 7})
    check_one_sender("/image", {("camera", ""): 7, ("", ""): 2})  # before the driver knew
    check_one_sender("/image", Counter())
    with pytest.raises(BadLog, match=r"/image: messages in several frames, 'rear' \(8\), 'front' \(7\): each sender"):
        check_one_sender("/image", {("front", ""): 7, ("rear", ""): 8})


def along(xs: list[float]) -> list[Pose]:
    return [Pose(x, 0.0, 0.0) for x in xs]


def test_poses_that_jump_once_in_a_while_are_a_localisations():
    xs = np.arange(100) * 0.05
    xs[40:] += 3.0
    xs[80:] -= 2.0
    check_steady("/pose", along(xs.tolist()), np.arange(100) * 50_000_000)


def test_a_fast_car_and_poses_of_the_same_time():
    check_steady("/pose", along((np.arange(50) * 1.5).tolist()), np.arange(50) * 100_000_000)
    check_steady("/pose", along([0.0, 0.0, 0.1, 0.1]), np.array([0, 0, 1, 1]) * 100_000_000)


@pytest.mark.parametrize(
    ("commands", "moved"),
    [
        ([Command(0.0, 0.0)] * 600, 0.0),  # stands
        ([Command(0.5, 0.0)] * 10, 0.0),  # brakes first
        ([Command(0.5, 0.0)] * 600, 0.02),  # blocked, but its wheels tell
        ([Command(0.0, 0.1)] * 100, 0.0),
    ],
)
def test_a_pose_that_may_stay(commands, moved):
    poses = along(np.linspace(0, moved, len(commands)).tolist())
    check_moves("/odom", poses, commands)


@pytest.mark.parametrize("command", [Command(-0.4, 0.0), Command(0.0, 0.9)])
def test_a_pose_that_never_changes_under_any_command(command):
    with pytest.raises(BadLog, match="the pose never changes"):
        check_moves("/odom", along([1.0] * 60), [command] * 60)


def test_a_turn_shows_that_the_robot_moves():
    turning = [Pose(0.0, 0.0, (0.1 * tick) % math.tau) for tick in range(60)]
    check_moves("/odom", turning, [Command(0.0, 1.0)] * 60)
    with pytest.raises(BadLog, match=r"the same scan 60 times in a row.* drives 0.0 m and turns 5.9 rad: it is frozen"):
        check_frozen("/scan", "scan", [1] * 60, motion_of_poses(turning))


def test_a_sensor_that_freezes_in_the_middle():
    keys = [*range(30), *[30] * 40, *range(31, 61)]
    with pytest.raises(BadLog, match=r"the same image 40 times in a row, from 3.0 s on, .* drives 3.9 m"):
        check_frozen("/image", "image", keys, motion_of_poses(along((np.arange(100) * 0.1).tolist())))


def test_what_repeats_for_a_moment_is_not_frozen():
    """A camera of 5 Hz, of which each image is stored twice; a stall of half a second; an empty scan."""
    motion = motion_of_poses(along((np.arange(100) * 0.3).tolist()))
    check_frozen("/image", "image", [tick // 2 for tick in range(100)], motion)
    check_frozen("/image", "image", [*range(50), *[50] * 6, *range(51, 95)], motion)
    check_frozen("/scan", "scan", [scan_key(np.full(360, np.inf))] * 100, motion)


def test_without_poses_the_commands_say_how_the_robot_moves():
    with pytest.raises(BadLog, match=r"while by the commands the robot drives 4.5 m"):
        check_frozen("/image", "image", [1] * 100, motion_of_commands([Command(0.45, 0.0)] * 101))
    check_frozen("/image", "image", [1] * 100, motion_of_commands([Command(0.0, 0.0)] * 100))


def test_images_of_one_colour_count_over_the_log():
    assert check_contrast("/image", [0.2] * 90 + [20.0] * 10) == "90 of 100 images are of one colour"
    assert check_contrast("/image", [20.0] * 10) == ""
    with pytest.raises(BadLog, match="96 of 100 images are of one colour"):
        check_contrast("/image", [0.2] * 96 + [20.0] * 4)
