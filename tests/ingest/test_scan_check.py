"""Scanners that are blind, in other units, or two on one topic; and real ones that only look so."""

import math

import numpy as np
import pytest
from ingest.foreign_logs import Sent, changed, header, write_bag

from sim2edge.config import load
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.understand import Understood, understand

TICKS = 20
RNG = np.random.default_rng(5)
ROOM = RNG.uniform(0.3, 6, (TICKS, 180)).astype(np.float32)
"""Ranges of each scan, metres."""


def scans(path, *words: str, every=lambda tick: {}, ranges=ROOM) -> Understood:
    """Ingest a drive whose scan at each tick has these ranges and the fields of `every(tick)`."""
    tick = -1

    def change(sent: Sent) -> Sent:
        nonlocal tick
        if sent[0] != "/scan":
            return sent
        tick += 1
        return *sent[:3], sent[3] | {"ranges": ranges[tick].tolist()} | every(tick)

    write_bag(path / "a.mcap", changed(change, TICKS))
    return understand(path / "a.mcap", load(IngestConfig, "ingest", overrides=list(words)))


def always(**fields: object) -> dict:
    return {"every": lambda tick: fields}


def with_returns(share: float) -> np.ndarray:
    """Ranges in a hall where only this share of the beams reaches something."""
    return np.where(np.random.default_rng(6).random(ROOM.shape) < share, ROOM, np.inf)


STEP = math.tau / 180
BLIND = [
    ({"ranges": ROOM * 1000}, r"ranges: the median is 3\d\d\d: expected metres, these look like millimetres"),
    ({"ranges": ROOM * 1000, **always(range_min=100.0, range_max=12000.0)}, "these look like millimetres"),
    ({"ranges": np.rint(ROOM * 1000), **always(range_max=math.inf)}, "these look like millimetres"),
    ({"ranges": np.rint(ROOM * 10), **always(range_max=200.0)}, "whole numbers, median 3.*centimetres"),
    ({"ranges": ROOM / 1000, **always(range_min=0.0)}, "the median is 0.003.* m: not metres, or the scanner is cov"),
    (always(range_min=8.0), "no return in 20 of 20 scans: 100% of the ranges are below range_min=8"),
    (always(range_min=0.1, range_max=0.2), "no return in 20 of 20 scans: 100% .* not below range_max=0.2"),
    ({"ranges": np.full_like(ROOM, math.inf)}, "no return in 20 of 20 scans: 100% of the ranges are infinite"),
    ({"ranges": np.zeros_like(ROOM)}, "no return in 20 of 20 scans: 100% of the ranges are 0 or less"),
    ({"ranges": -ROOM}, "100% of the ranges are 0 or less"),
    ({"ranges": np.full_like(ROOM, 10)}, "100% of the ranges are not below range_max=10"),
    ({"ranges": np.full_like(ROOM, 2.5)}, "every return in 20 scans is 2.5 m: nothing was measured"),
    (always(angle_min=-180.0, angle_max=178.0, angle_increment=2.0), "57.3 turns: expected radians.*in 20 of 20"),
    (always(angle_increment=1.0), "message 0: angles: 180 beams .* look like degrees"),
    (always(angle_increment=STEP / 2), "angle_max is 3.107 rad, but 180 beams from -3.142 .* end at"),
    (always(angle_min=math.pi, angle_max=-math.pi, angle_increment=STEP), "angle_max is -3.142 rad"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BLIND, ids=[message[:50] for _, message in BLIND])
def test_a_scanner_that_says_nothing_or_another_thing(tmp_path, changes, message):
    with pytest.raises(BadLog, match=message) as refused:
        scans(tmp_path, **changes)
    assert str(refused.value).startswith("/scan: ")


def returns(episode: Understood) -> float:
    return episode.log.scanner.seen.returns


@pytest.mark.parametrize("limit", [0.0, math.nan, -1.0])
def test_a_largest_range_that_is_none_is_unset_and_the_report_says_so(tmp_path, limit):
    episode = scans(tmp_path, **always(range_max=limit))
    assert returns(episode) == 1
    assert episode.log.scanner.seen.notes == (f"range_max is {limit:g} in 20 of 20 scans: taken as unset",)


@pytest.mark.parametrize("limits", [{"range_min": math.nan}, {"range_min": -1.0}, {"range_max": math.inf}])
def test_other_limits_that_are_none(tmp_path, limits):
    episode = scans(tmp_path, **always(**limits))
    assert (returns(episode), episode.log.scanner.seen.notes) == (1, ())


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_a_hall_with_few_returns_is_taken(tmp_path, share):
    assert returns(scans(tmp_path, ranges=with_returns(share))) == pytest.approx(share, rel=0.3)


def test_a_field_with_returns_in_few_scans_is_taken_and_told(tmp_path):
    ranges = np.full_like(ROOM, math.inf)
    ranges[7, 3] = 4.0
    assert scans(tmp_path, ranges=ranges).log.scanner.seen.notes == ("19 of 20 scans have no return",)


@pytest.mark.parametrize("nothing", [math.inf, math.nan, 0.0, 10.0])
def test_each_way_to_send_no_return_counts_as_none(tmp_path, nothing):
    """Infinity (Webots, RPLidar), NaN, 0 (cheap drivers), the largest range (older simulators)."""
    ranges = np.where(np.isinf(with_returns(0.3)), nothing, ROOM)
    assert returns(scans(tmp_path, ranges=ranges)) == pytest.approx(0.3, abs=0.03)


def test_a_spinning_scanner_has_some_beams_more_or_less(tmp_path):
    """A turn has 178 to 182 beams, and the driver states the angles of the whole turn."""

    def turn(tick: int) -> dict:
        beams = 178 + tick % 5
        return {"ranges": RNG.uniform(0.3, 6, beams).tolist(), "angle_max": math.pi}

    assert returns(scans(tmp_path, every=turn)) > 0.98


def test_a_driver_that_leaves_out_beams_at_the_ends(tmp_path):
    def cut(tick: int) -> dict:
        lost = tick % 7
        return {"ranges": ROOM[tick, lost:].tolist(), "angle_min": -math.pi + lost * STEP}

    assert returns(scans(tmp_path, every=cut)) > 0.95


def test_a_motor_that_starts_loses_its_first_scan(tmp_path):
    episode = scans(tmp_path, every=lambda tick: {"ranges": ROOM[0, :40].tolist()} if tick == 0 else {})
    assert (episode.log.streams["scan"].values[0], len(episode.ticks)) == (None, TICKS - 1)


def test_clockwise_scans_and_a_full_turn_counted_to_its_end(tmp_path):
    assert returns(scans(tmp_path, **always(angle_min=math.pi, angle_max=-math.pi, angle_increment=-STEP))) == 1
    assert returns(scans(tmp_path, **always(angle_min=0.0, angle_max=math.tau))) == 1


def test_coarse_ranges_in_metres_are_taken(tmp_path):
    assert returns(scans(tmp_path, ranges=np.rint(ROOM * 4) / 4 + 0.25)) == 1


def test_the_smallest_room_and_the_farthest_scanner(tmp_path):
    assert returns(scans(tmp_path, ranges=ROOM / 30, **always(range_min=0.0))) == 1
    far = scans(tmp_path, "lidar.max_range_m=300", ranges=ROOM * 40, **always(range_max=250.0))
    assert returns(far) == 1


def in_frames(tick: int) -> dict:
    return {"header": header(1_700_000_000_010_000_000 + tick * 100_000_000, ("front", "rear")[tick % 2])}


def test_two_scanners_on_one_topic(tmp_path):
    with pytest.raises(BadLog, match=r"in the frames 'front' \(10 scans\), 'rear' \(10 scans\): frames.scan=<frame>"):
        scans(tmp_path, every=in_frames)
    chosen = scans(tmp_path, "frames.scan=rear", "lidar.yaw_deg=180", "tolerance_s=0.2", every=in_frames)
    assert len(chosen.log.streams["scan"].values) == 10
    with pytest.raises(BadLog, match=r"no scan is in the frame 'top' of frames.scan, only in: front, rear"):
        scans(tmp_path, "frames.scan=top", every=in_frames)


@pytest.mark.parametrize("other", [{"angle_min": 0.0, "angle_max": math.pi, "angle_increment": STEP / 2}, None])
def test_two_scanners_in_one_frame_take_turns(tmp_path, other):
    half = {"ranges": ROOM[0, ::2].tolist(), "angle_increment": 2 * STEP}
    with pytest.raises(BadLog, match=r"scans of two scanners take turns, 180 beams from -180 degrees over 360 and"):
        scans(tmp_path, every=lambda tick: (other or half) if tick % 2 else {})


def test_a_scanner_that_is_set_up_otherwise_during_the_drive(tmp_path):
    half = {"ranges": ROOM[0, ::2].tolist(), "angle_increment": 2 * STEP}
    assert returns(scans(tmp_path, every=lambda tick: half if tick > 9 else {})) == 1


def test_scans_outside_the_beams_that_are_asked_for(tmp_path):
    behind = {"angle_min": 2.0, "angle_max": 2.0 + STEP * 20, "ranges": ROOM[0, :21].tolist()}
    with pytest.raises(BadLog, match=r"no return in 20 of 20 scans: the rest is outside lidar.fov_deg"):
        scans(tmp_path, "lidar.fov_deg=90", **always(**behind))
