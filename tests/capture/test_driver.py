"""The driver's choice, from LiDAR points and a target in the robot's frame."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.capture.driver import MARGIN_M, decide, lidar_points
from sim2edge.episodes.moment import ROBOT_RADIUS_M

NOTHING = np.zeros((0, 2))


def test_an_open_floor_is_crossed_straight_at_full_speed():
    command = decide(NOTHING, (1.0, 0.0), 0.5)
    assert command.linear_m_s == 0.5
    assert abs(command.angular_rad_s) < 0.3


def test_a_target_to_the_left_or_behind_is_turned_to():
    assert decide(NOTHING, (0.5, 0.5), 0.5).angular_rad_s > 0.3
    assert decide(NOTHING, (-1.0, -0.1), 0.5).angular_rad_s < -1


def test_a_wall_right_ahead_stops_the_robot_but_lets_it_turn():
    wall = np.stack([np.full(41, 0.24), np.linspace(-1, 1, 41)], axis=1)
    command = decide(wall, (1.0, 0.0), 0.5)
    assert command.linear_m_s == 0
    assert command.angular_rad_s != 0


@given(st.floats(0.3, 1.5), st.floats(-math.pi, math.pi), st.floats(-math.pi, math.pi))
def test_the_next_instant_never_comes_too_near_to_a_point(distance, bearing, target):
    point = np.array([[distance * math.cos(bearing), distance * math.sin(bearing)]])
    linear, angular = decide(point, (math.cos(target), math.sin(target)), 0.6)
    yaw = angular * 0.2
    x, y = (
        (linear * 0.2, 0)
        if abs(angular) < 1e-6
        else (linear / angular * math.sin(yaw), linear / angular * (1 - math.cos(yaw)))
    )
    assert linear == 0 or math.dist((x, y), point[0]) >= ROBOT_RADIUS_M + MARGIN_M - 1e-6


def test_lost_beams_are_no_points():
    angles = np.radians([-90, 0, 90])
    points = lidar_points(np.array([np.inf, 1.0, np.inf]), angles)
    assert points.tolist() == [[1.0, 0.0]]
