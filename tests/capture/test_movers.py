"""Walks: to and fro, facing the way, waiting for the robot; a function of time and of where the robot was alone."""

import math

import pytest
from capture.hand_made import solid, stand
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.capture.movers import PERSONAL_SPACE_M, Movers
from sim2edge.capture.specs import Motion
from sim2edge.episodes.moment import ROBOT_RADIUS_M, Pose

FAR = Pose(50, 50, 0)


def walker(phase: float = 0.0):
    motion = Motion(to_x_m=2, to_y_m=0, speed_m_s=0.5, phase=phase)
    return stand(1, "person", 0, 0, solid("cylinder", (0.1, 0.5), (0, 0, 0.5)), motion=motion)


def box():
    return stand(0, "box", -3, 1, solid("box", (0.1, 0.1, 0.1), (0, 0, 0.1)))


def test_it_walks_there_turns_and_comes_back():
    movers = Movers([box(), walker()])
    assert movers.moving == (1,)
    there = movers.advance(2, FAR)[1]
    assert (there.x_m, there.yaw_rad) == (pytest.approx(1), pytest.approx(0))
    back = movers.advance(4, FAR)[1]
    assert (back.x_m, back.yaw_rad) == (pytest.approx(1), pytest.approx(math.pi))
    assert movers.poses()[0] == box().pose


def test_half_a_phase_is_the_other_end():
    assert Movers([walker(0.5)]).poses()[0].x_m == pytest.approx(2)


def test_it_waits_in_front_of_the_robot_and_not_with_the_robot_behind():
    movers = Movers([walker()])
    robot = Pose(1, 0, 0)
    for _ in range(100):
        movers.advance(0.1, robot)
    assert movers.poses()[0].x_m == pytest.approx(1 - PERSONAL_SPACE_M - ROBOT_RADIUS_M, abs=0.06)
    behind = Movers([walker(0.25)])  # at x = 1, walking on
    assert behind.advance(1, Pose(0.4, 0, 0))[0].x_m == pytest.approx(1.5)


@given(st.lists(st.floats(0.001, 3), max_size=20), st.floats(0, 1))
def test_it_never_leaves_its_line(steps, phase):
    movers = Movers([walker(phase)])
    for seconds in steps:
        (pose,) = movers.advance(seconds, FAR)
        assert -1e-9 <= pose.x_m <= 2 + 1e-9
        assert abs(pose.y_m) < 1e-9
