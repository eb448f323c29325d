"""Which messages make a tick, and which clock counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest.foreign_logs import (
    HEIGHT,
    START_NS,
    WIDTH,
    Sent,
    changed,
    header,
    jpeg,
    laser_scan,
    odometry,
    picture,
    ranges,
    twist,
    write_bag,
)

from sim2edge.ingest.align import NONE, align, in_force, nearest
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.images import Picture, size_of, to_jpeg
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.source_log import pictures
from sim2edge.ingest.understand import understand

TICK = 100_000_000
TOLERANCE = 50_000_000


def times(*seconds: float) -> np.ndarray:
    return np.array([round(second * 1e9) for second in seconds], dtype=np.int64)


def every(period: float, until: float, start: float = 0.0) -> np.ndarray:
    return times(*np.arange(start, until, period))


def aligned(**topics: np.ndarray):
    steady = {role: every(0.1, 2) for role in ("image", "scan", "pose", "command")}
    return align({**steady, **topics}, TOLERANCE, 500_000_000)  # type: ignore[dict-item]


def test_the_same_rate_gives_every_message_once():
    ticks = aligned()
    for numbers in ticks.chosen.values():
        assert numbers.tolist() == list(range(20))
    assert (ticks.index.tolist(), ticks.dropped, set(ticks.farthest_ns.values())) == (list(range(20)), {}, {0})


def test_a_faster_camera_gives_the_image_nearest_to_each_tick():
    ticks = aligned(image=every(1 / 30, 2))
    assert ticks.chosen["image"].tolist() == list(range(0, 60, 3))


@pytest.mark.parametrize(("phase", "first"), [(0.015, 0), (0.03, 1), (0.045, 1)])
def test_a_faster_camera_starts_at_the_image_that_scans_are_near_to(phase, first):
    ticks = aligned(image=every(1 / 30, 2), scan=every(0.1, 2, start=phase))
    assert ticks.chosen["image"][0] == first
    assert ticks.farthest_ns["scan"] <= 20_000_000
    assert ticks.dropped.total() <= 1


def test_messages_keep_their_times_and_commands_get_those_of_their_images():
    ticks = aligned(pose=every(0.1, 2, start=0.013), scan=every(0.1, 2.1, start=-0.02), command=times(-0.3, 0.2))
    written = ticks.times_to_write
    assert written["scan"].tolist() == (ticks.index * TICK).tolist()
    assert (written["image"] - written["scan"]).tolist() == [20_000_000] * len(ticks)
    assert (written["pose"] - written["image"]).tolist() == [13_000_000] * len(ticks)
    assert written["command"].tolist() == written["image"].tolist()
    assert ticks.farthest_ns["command"] == 500_000_000


def test_what_is_farthest_is_that_of_the_ticks_that_are_kept():
    ticks = aligned(scan=np.concatenate([times(0.04), every(0.1, 2, start=0.1)]))
    assert ticks.farthest_ns["scan"] == 40_000_000
    assert ticks.keep(np.arange(len(ticks)) > 0, "image").farthest_ns["scan"] == 0


def test_a_slower_camera_gives_fewer_ticks_and_no_image_twice():
    ticks = aligned(image=every(0.2, 2))
    assert ticks.index.tolist() == list(range(0, 20, 2))[: len(ticks)]
    assert ticks.chosen["image"].tolist() == list(range(10))
    assert ticks.dropped == {"image": 9}


def test_a_scanner_that_starts_late_shifts_the_start_and_a_pause_leaves_a_gap():
    late = np.concatenate([every(0.1, 1.0, start=0.3), every(0.1, 2, start=1.4)])
    ticks = aligned(scan=late)
    assert ticks.index[0] == 0
    assert ticks.dropped == {"scan": 7}
    assert ticks.index.tolist() == [*range(7), *range(11, 17)]


def test_a_command_holds_until_the_next_but_not_for_ever():
    ticks = aligned(command=times(0.0, 0.4, 1.9))
    assert ticks.chosen["command"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2]
    assert ticks.dropped == {"command": 9}


moments = st.lists(st.integers(0, 10**10), min_size=1, max_size=30).map(sorted).map(lambda t: np.array(t, np.int64))


@given(moments, moments, st.integers(0, 10**9))
def test_nearest_is_the_nearest(have, wanted, tolerance):
    for moment, found in zip(wanted, nearest(have, wanted, tolerance), strict=True):
        least = np.abs(have - moment).min()
        assert found == NONE if least > tolerance else abs(have[found] - moment) == least


@given(moments, moments, st.integers(0, 10**8), st.integers(0, 10**9))
def test_what_is_in_force_is_near_or_before(have, wanted, tolerance, hold):
    for moment, found in zip(wanted, in_force(have, wanted, tolerance, hold), strict=True):
        if found != NONE:
            assert abs(have[found] - moment) <= tolerance or 0 <= moment - have[found] <= hold
        else:
            assert not any(0 <= moment - time <= hold for time in have)


@given(*[moments] * 4)
def test_ticks_rise_and_take_no_image_twice(image, scan, pose, command):
    ticks = align({"image": image, "scan": scan, "pose": pose, "command": command}, TOLERANCE, 0)
    assert (np.diff(ticks.index) > 0).all()
    assert (np.diff(ticks.chosen["image"]) > 0).all()
    assert 0 <= (image[-1] - image[0] + TICK // 2) // TICK + 1 - len(ticks) - ticks.dropped.total() <= 1
    assert min(times[0] for times in ticks.times_to_write.values() if len(times)) >= 0 if len(ticks) else True


SIMULATED_NS = 5_000_000_000


def simulated(sent: Sent) -> Sent:
    """The stamps of a simulator's clock, while the log has the wall's."""
    content = sent[3]
    if "header" in content:
        content = content | {"header": header(sent[2] - START_NS + SIMULATED_NS)}
    return sent[0], sent[1], sent[2], content


def test_messages_without_stamps_are_brought_to_the_clock_of_the_others(tmp_path):
    episode = understand(write_bag(tmp_path / "a.mcap", changed(simulated)), IngestConfig())
    assert episode.clock.name == "stamps"
    assert episode.clock.map.origin == (START_NS, SIMULATED_NS)
    assert len(episode.ticks) == 12


def test_without_stamps_the_log_time_counts(tmp_path):
    def unset(sent: Sent) -> Sent:
        return *sent[:3], sent[3] | ({"header": header(0)} if sent[0] == "/odom" else {})

    episode = understand(write_bag(tmp_path / "a.mcap", changed(unset)), IngestConfig())
    assert (episode.clock.name, episode.clock.reason) == ("log_time", "/odom has no stamps")
    assert len(episode.ticks) == 12


def test_broken_images_and_scans_of_nan_cost_their_ticks_only(tmp_path):
    def change(sent: Sent) -> Sent:
        tick = (sent[2] - START_NS) // TICK
        broken = {"/scan": {"ranges": [np.nan] * 180}, "/camera/image_raw/compressed": {"data": jpeg(0)[:99]}}
        hit = (sent[0], tick) in {("/scan", 3), ("/camera/image_raw/compressed", 7)}
        return *sent[:3], sent[3] | (broken[sent[0]] if hit else {})

    config = IngestConfig()
    episode = understand(write_bag(tmp_path / "a.mcap", changed(change)), config)
    assert episode.ticks.dropped == {"image": 1, "scan": 1}
    assert episode.ticks.index.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
    shown = list(pictures(episode.log, episode.ticks.chosen["image"].tolist(), 92))
    assert shown == [jpeg(tick) for tick in episode.ticks.index]


def stamped_drive(image: dict, schema: str = "sensor_msgs/msg/Image") -> list[Sent]:
    sent: list[Sent] = []
    for tick in range(3):
        now = START_NS + tick * TICK
        command = {"header": header(now), "twist": twist(0.1, 0.2)}
        sent += [
            ("/camera/image_raw", schema, now, {"header": header(now), **image}),
            ("/scan", "sensor_msgs/msg/LaserScan", now, laser_scan(now, ranges(tick))),
            ("/pose", "geometry_msgs/msg/PoseStamped", now, {"header": header(now), **odometry(now, 1.0)["pose"]}),
            ("/cmd_vel", "geometry_msgs/msg/TwistStamped", now, command),
        ]
    return sent


@pytest.mark.parametrize(("encoding", "channels"), [("rgb8", 3), ("bgr8", 3), ("mono8", 1)])
def test_raw_images_with_padded_rows_keep_their_colours(tmp_path, encoding, channels):
    import cv2

    rgb = picture(1)
    pixels = {"rgb8": rgb, "bgr8": rgb[..., ::-1], "mono8": rgb[..., :1]}[encoding]
    rows = np.zeros((HEIGHT, WIDTH * channels + 5), np.uint8)
    rows[:, :-5] = pixels.reshape(HEIGHT, -1)
    raw = {"height": HEIGHT, "width": WIDTH, "encoding": encoding, "step": rows.shape[1], "data": rows.tobytes()}
    episode = understand(write_bag(tmp_path / "a.mcap", stamped_drive(raw)), IngestConfig())
    shown = cv2.imdecode(np.frombuffer(next(pictures(episode.log, [0], 100)), np.uint8), cv2.IMREAD_COLOR)
    expected = np.repeat(rgb[..., :1], 3, axis=2) if encoding == "mono8" else rgb
    assert np.abs(shown[..., ::-1].astype(int) - expected).mean() < 4
    assert episode.log.streams["command"].values[0] == (0.1, 0.2)


def test_a_png_is_encoded_once():
    import cv2

    png = Picture(cv2.imencode(".png", picture(2)[..., ::-1])[1].tobytes(), "png")
    assert size_of(png) == (WIDTH, HEIGHT)
    shown = cv2.imdecode(np.frombuffer(to_jpeg(png, 100), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(shown.astype(int) - picture(2)).mean() < 4


def test_a_png_that_cannot_be_decoded_refuses_the_log(tmp_path):
    damaged = b"\x89PNG\r\n\x1a\n" + bytes(8) + (64).to_bytes(4, "big") + (48).to_bytes(4, "big") + bytes(90)
    sent = stamped_drive({"format": "png", "data": damaged}, "sensor_msgs/msg/CompressedImage")
    with pytest.raises(BadLog, match=r"/camera/image_raw: none of .* images is whole"):
        understand(write_bag(tmp_path / "a.mcap", sent), IngestConfig())


@given(st.binary(max_size=300), st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]))
def test_no_bytes_of_an_image_are_too_odd_to_measure(data, start):
    size_of(Picture(start + data + b"\xff\xd9", "jpeg"))
