"""Scans of other LiDARs on our beams."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.ingest.lidar import UNCOVERED, Geometry, Scan, bring_to_beams, geometry_from_span, nearest_beams
from sim2edge.ingest.mounting import Sitting

OURS = tuple((-math.pi + np.arange(360) * math.tau / 360).tolist())


def bring(scan: Scan, yaw: float = 0.0, flipped: bool = False):
    return bring_to_beams(scan, OURS, Sitting(yaw, flipped), 100.0)


def full(beams: int, start: float = -math.pi) -> Geometry:
    return Geometry(start, math.tau / beams, beams)


def test_our_own_scan_stays_as_it_is():
    values = np.random.default_rng(1).uniform(0.2, 8, 360)
    values[7] = np.inf
    assert (bring(Scan(full(360), values)) == values).all()


def test_more_beams_are_thinned_and_fewer_repeated():
    values = np.random.default_rng(1).uniform(0.2, 8, 1440)
    assert (bring(Scan(full(1440), values)) == values[::4]).all()
    few = bring(Scan(full(90), values[:90]))
    assert set(few) == set(values[:90])


def test_a_scanner_that_starts_ahead_or_turns_clockwise_sees_the_same():
    values = np.random.default_rng(1).uniform(0.2, 8, 360)
    expected = bring(Scan(full(360), values))
    assert (bring(Scan(full(360, start=0.0), np.roll(values, -180))) == expected).all()
    clockwise = Geometry(math.pi - math.tau / 360, -math.tau / 360, 360)
    assert (bring(Scan(clockwise, values[::-1])) == expected).all()


def test_a_turned_scanner_is_turned_back():
    values = np.full(360, 5.0)
    values[180] = 1.0  # the scanner's ahead
    seen = bring(Scan(full(360), values), yaw=math.pi / 2)
    assert seen.argmin() == 180 + 90  # the robot's left


def test_a_scanner_upside_down_is_mirrored_back():
    values = np.full(360, 5.0)
    values[270] = 1.0  # the scanner's left
    assert bring(Scan(full(360), values), flipped=True).argmin() == 90  # the robot's right
    assert bring(Scan(full(360), values), yaw=math.pi / 2, flipped=True).argmin() == 180  # ahead


def test_what_the_scanner_does_not_cover_has_no_return():
    half = Geometry(-math.pi / 2, math.pi / 180, 181)
    seen = bring(Scan(half, [2.0] * 181))
    assert np.isfinite(seen).sum() == 181
    assert np.isinf(seen[:90]).all()


@pytest.mark.parametrize("value", [math.nan, 0.0, -1.0, math.inf, -math.inf, 0.05, 10.0, 12.0, 300.0])
def test_what_is_no_return_is_inf(value):
    values = [value, *[1.0] * 359]
    assert bring(Scan(full(360), values, 0.1, 10.0))[0] == math.inf


def test_a_scan_of_nan_is_none():
    assert bring(Scan(full(360), [math.nan] * 360)) is None


def test_foxglove_ends_at_the_last_beam_or_a_full_turn_on():
    assert geometry_from_span(-math.pi, math.pi, 360).step_rad == pytest.approx(math.tau / 360)
    assert geometry_from_span(-1, 1, 101).step_rad == pytest.approx(0.02)
    assert geometry_from_span(0.5, 0.5, 1) == Geometry(0.5, 0.0, 1)


@pytest.mark.parametrize(
    "geometry",
    [Geometry(0, 0, 5), Geometry(math.nan, 1, 5), Geometry(0, math.inf, 5), full(100_001), Geometry(0, 1, 0)],
)
def test_a_geometry_that_cannot_be(geometry):
    with pytest.raises(ValueError, match=r"angles|beams"):
        Scan(geometry, [])


@given(st.floats(-10, 10), st.floats(0.001, 0.5), st.integers(1, 500), st.floats(-4, 4))
def test_each_beam_takes_the_nearest_there_is(start, step, beams, yaw):
    geometry = Geometry(start, step, beams)
    source = start + yaw + step * np.arange(beams)
    away = np.abs((np.array(OURS)[:, None] - source[None, :] + math.pi) % math.tau - math.pi)
    for found, row in zip(nearest_beams(geometry, OURS, Sitting(yaw, False)), away, strict=True):
        if found == UNCOVERED:
            assert row.min() > step / 2
        else:
            assert row[found] == pytest.approx(row.min(), abs=1e-9)
