"""Odometry: exact without slip, off by what slips."""

import math

import pytest

from sim2edge.capture.motion_sensors import Odometry
from sim2edge.capture.specs import TRACK_M, WHEEL_RADIUS_M


def test_straight_on_it_goes_as_far_as_its_wheels():
    odometry = Odometry((0.0, 0.0))
    for _ in range(10):
        odometry.advance((1.0, 1.0))
    assert odometry.pose == pytest.approx((10 * WHEEL_RADIUS_M, 0, 0))


def test_a_full_circle_ends_where_it_began():
    odometry = Odometry((0.0, 0.0))
    radius, ticks = 1.0, 400
    left, right = (math.tau * (radius + side * TRACK_M / 2) / WHEEL_RADIUS_M / ticks for side in (-1, 1))
    for _ in range(ticks):
        odometry.advance((left, right))
    assert odometry.pose == pytest.approx((0, 0, 0), abs=1e-3)


def test_a_slipping_wheel_counts_more_than_the_floor_gets():
    odometry = Odometry((0.1, 0.1))
    odometry.advance((9.0, 9.0))
    assert odometry.pose.x_m == pytest.approx(10 * WHEEL_RADIUS_M)
    uneven = Odometry((0.0, 0.05))
    uneven.advance((9.0, 9.0))
    assert uneven.pose.yaw_rad > 0.05
