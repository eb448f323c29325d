"""A rollout's window: every device has its turn in it, and none waits longer than it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.edge.server.rollout import MAX_WINDOW_S, Rollout, parse_rollout, turn_s, wait_s

START = 1_790_000_000.0
HOUR = Rollout(START, 3600)


def test_ten_thousand_devices_are_spread_evenly_and_in_another_order_each_time():
    turns = {release: [turn_s(f"pi-{n}", release, 600) for n in range(10_000)] for release in ("r1", "r2")}
    for each in turns.values():
        minutes = [sum(60 * minute <= turn < 60 * (minute + 1) for turn in each) for minute in range(10)]
        assert sum(minutes) == 10_000
        assert max(minutes) < 1150
    assert sum(one < 300 and two < 300 for one, two in zip(*turns.values(), strict=True)) == pytest.approx(
        2500, abs=200
    )


def test_a_device_waits_for_its_turn_and_no_longer():
    turn = turn_s("pi-7", "r2", 3600)
    assert wait_s(HOUR, "pi-7", "r2", START, 0) == pytest.approx(turn)
    assert wait_s(HOUR, "pi-7", "r2", START + turn - 5, turn - 5) == pytest.approx(5)
    assert wait_s(HOUR, "pi-7", "r2", START + turn, turn) == 0
    assert wait_s(HOUR, "pi-7", "r2", START + 86_400, 0) == 0, "it was away, and all others have it"


def test_no_window_means_at_once():
    assert wait_s(parse_rollout({"release": "r2"}), "pi-7", "r2", 0, 0) == 0
    assert wait_s(parse_rollout({"start": START, "window_s": 0}), "pi-7", "r2", START, 0) == 0


@given(now=st.floats(0, 4e9), known_s=st.floats(0, 1e9), window_s=st.floats(-1e9, 1e9))
def test_whatever_the_clock_says_the_wait_is_within_the_window(now, known_s, window_s):
    rollout = parse_rollout({"start": START, "window_s": window_s})
    wait = wait_s(rollout, "pi-7", "r2", now, known_s)
    assert 0 <= wait <= min(max(window_s, 0), MAX_WINDOW_S)
    assert wait == 0 or known_s < turn_s("pi-7", "r2", rollout.window_s)
