"""The grid: what is free, what is reachable, and the way to a goal."""

import math

import numpy as np
import pytest

from sim2edge.capture.occupancy import CELL_M, Occupancy

WALL_ACROSS = np.array([(-0.1, -2.0), (0.1, -2.0), (0.1, 1.0), (-0.1, 1.0)])
CLOSED = np.array([(-0.1, -2.0), (0.1, -2.0), (0.1, 2.0), (-0.1, 2.0)])
LEFT, RIGHT = (-2.0, -1.0), (2.0, -1.0)


def test_clearance_is_the_distance_to_what_stands_there():
    grid = Occupancy(6, 4, [], 0.25)
    assert grid.clearance_m[grid.cell(0, 0)] == pytest.approx(2.0, abs=2 * CELL_M)
    assert grid.clearance_m[grid.cell(2.5, 0)] == pytest.approx(0.5, abs=2 * CELL_M)


def test_a_wall_with_a_gap_is_walked_around():
    grid = Occupancy(6, 4, [WALL_ACROSS], 0.25)
    steps = grid.steps_to(*RIGHT)
    assert steps[grid.cell(*RIGHT)] == 0
    around = 2 * math.dist(LEFT, (0, 1.25))
    assert CELL_M * steps[grid.cell(*LEFT)] == pytest.approx(around, rel=0.2)


def test_a_closed_wall_is_the_end_of_the_way():
    grid = Occupancy(6, 4, [CLOSED], 0.25)
    assert not grid.reachable(*LEFT)[grid.cell(*RIGHT)]
    assert grid.steps_to(*RIGHT)[grid.cell(*LEFT)] == -1


def test_following_the_points_ahead_leads_to_the_goal_over_free_cells():
    grid = Occupancy(6, 4, [WALL_ACROSS], 0.25)
    steps, place = grid.steps_to(*RIGHT), LEFT
    for _ in range(40):
        target = grid.ahead(steps, *place, 0.7)
        line = np.linspace(place, target, 20)
        assert all(grid.clearance_m[grid.cell(x, y)] > 0.15 for x, y in line)
        place = target
    assert math.dist(place, RIGHT) < 2 * CELL_M


def test_a_robot_pushed_into_the_margin_still_finds_its_way():
    grid = Occupancy(6, 4, [WALL_ACROSS], 0.25)
    against_the_wall = (-0.2, -1.0)
    assert not grid.free[grid.cell(*against_the_wall)]
    assert grid.reachable(*against_the_wall).any()
    assert grid.ahead(grid.steps_to(*RIGHT), *against_the_wall, 0.7)[0] < -0.2
