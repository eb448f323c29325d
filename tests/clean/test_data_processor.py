"""Pairing by time, scan geometry, boxes: the pure parts of processing an episode."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.clean.data_processor import find_nearest, scan_geometry
from sim2edge.frames.picture import to_fraction

times = st.lists(st.integers(0, 1000), min_size=1, max_size=20, unique=True).map(sorted)


@given(times, st.lists(st.integers(-100, 1100), max_size=20), st.integers(0, 200))
def test_the_nearest_is_the_nearest(known, wanted, tolerance):
    found = find_nearest(np.array(known), np.array(wanted, dtype=np.int64), tolerance)
    for time, index in zip(wanted, found, strict=True):
        gap = min(abs(time - each) for each in known)
        if gap > tolerance:
            assert index == -1
        else:
            assert abs(known[index] - time) == gap


@pytest.mark.parametrize(
    ("start", "end", "beams", "step"),
    [
        (-math.pi, math.pi, 360, math.tau / 360),
        (-math.pi, math.pi - math.tau / 360, 360, math.tau / 360),
        (-1.0, 1.0, 5, 0.5),
        (0.0, 0.0, 1, 0.0),
    ],
)
def test_the_end_angle_is_the_last_beam_or_a_full_turn(start, end, beams, step):
    scan = scan_geometry(SimpleNamespace(start_angle=start, end_angle=end, ranges=[1.0] * beams))
    assert scan.step_rad == pytest.approx(step)


@given(st.integers(-1280, 7680).map(lambda n: n / 64), st.integers(0, 640).map(lambda n: n / 64))
def test_a_coordinate_is_clipped_within_the_slack_only(pixel, slack):
    share = to_fraction(pixel, 100, slack)
    assert (0 <= share <= 1) == (-slack <= pixel <= 100 + slack)
    if 0 <= pixel <= 100:
        assert share == pixel / 100
