"""Clocks that are warped in known ways: every pairing is right, or the log is refused; nothing in between."""

import pytest
from ingest.clock_drives import Warp, drive, ingest, listed, mixture

from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.understand import choose_ticks

KNOWN = dict(listed())
TAKEN = (
    "nothing", "real-time factor 0.1", "real-time factor 3.0", "factor 1, 0.4, 2", "pause of 5.0 s",
    "two pauses, factor 0.5", "log time steps +0.8 s", "stamps step +0.8 s", "recorder 1.5 s late",
    "one stamp of image 3 s back", "one stamp of pose far ahead", "written out of order", "log times in ms, factor 3",
    "labels with stamps, late", "everything",
)  # fmt: skip
REFUSED = {
    "log time steps -0.8 s": "/command: the clock (log_time) jumps back by 0.",
    "stamps step -0.3 s": "/pose: the clock (stamps) jumps back by 0.280 s after message 715",
    "stamps of scans step +0.3 s": "/scan: its stamps are of another clock than those of /pose: off by up to -0.290 s",
    "pose on the wall's clock, factor 0.8": "/pose: its stamps are of another clock than those of /scan",
    "image logged 1.5 s late": "/image: its stamps are of another clock than those of /pose: off by up to 1.5",
    "command logged 1.5 s late": "/command: no stamps, and logged 1.474 s after the other topics: send commands with",
    "labels logged 0.2 s late": "/labels: message 0 has no stamp, and no image has its log time: write the",
    "jitter of 100 ms": "/command: no stamps, and in 2",
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_warp_that_the_stamps_undo(name):
    found = ingest(KNOWN[name])
    assert not found.refused
    assert found.right, found
    assert found.ticks > 0.93 * KNOWN[name].seconds * 10


@pytest.mark.parametrize("name", REFUSED)
def test_a_warp_that_nothing_undoes(name):
    assert REFUSED[name] in ingest(KNOWN[name]).refused


def test_ticks_whose_command_is_not_certain_are_dropped_and_counted():
    found = ingest(KNOWN["all 10 Hz, pause"])
    assert found.dropped == {"clock": 4}
    assert found.right


@pytest.mark.slow
def test_every_warp_that_is_listed():
    assert [(name, found) for name, warp in KNOWN.items() if not (found := ingest(warp)).right] == []


@pytest.mark.slow
def test_mixtures_of_warps():
    assert [(seed, found) for seed in range(300) if not (found := ingest(mixture(seed))).right] == []


def test_commands_with_stamps_need_no_map():
    warp = Warp(jitter_s={"all": 0.1}, stamped_commands=True)
    found = ingest(warp)
    assert found.right
    assert not found.refused


def drifting(role, seconds):
    """A drive of 30 s over which the stamps of a topic move by so much against those of the others."""
    return Warp(speeds=((0.0, 1 / (1 + seconds / 30)),), other_clock=role, stamped_commands=True)


@pytest.mark.parametrize("role", ["scan", "image", "pose"])
@pytest.mark.parametrize("seconds", [0.16, -0.16, 0.2, 0.24])
def test_a_topic_that_drifts_is_refused(role, seconds):
    assert f"/{role}: its stamps are of another clock" in ingest(drifting(role, seconds)).refused


@pytest.mark.parametrize(
    "warp",
    [
        drifting("scan", 0.12), drifting("scan", -0.12),
        Warp(jitter_s={"image": 0.2}, stamped_commands=True, labels=""),
        Warp(jitter_s={"scan": 0.2, "image": 0.1}, stamped_commands=True, labels="", seed=3),
    ],
)  # fmt: skip
def test_a_small_drift_and_jitter_are_taken(warp):
    assert not ingest(warp).refused


@pytest.mark.parametrize("unit", [0, 1e-6, 1e-3])
def test_stamps_that_hardly_advance_are_refused(unit):
    streams = drive(Warp(stamped_commands=True, labels=""))
    for stream in streams.values():
        stream.stamps = [1_000_000_000 + round((stamp - min(stream.stamps)) * unit) for stamp in stream.stamps]
    with pytest.raises(BadLog, match=r"^/image: its stamps advance by 0.* s in 29.9.* s of log time: set the stamp of"):
        choose_ticks(streams, IngestConfig())


@pytest.mark.parametrize("warp", [Warp(speeds=((0.0, 0.05),)), Warp(pauses=((14.0, 3600.0),), stamped_commands=True)])
def test_slow_simulated_time_and_a_long_pause_are_taken(warp):
    assert not ingest(warp).refused
