"""Clocks that are warped in known ways: every pairing is right, or the log is refused; nothing in between."""

import pytest
from ingest.clock_drives import Warp, ingest, listed, mixture

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
