"""Drawn rooms: solvable, not overlapping, the same for the same episode, refused when nothing fits."""

import numpy as np
import pytest
import yaml

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.footprints import hull_distance
from sim2edge.capture.room_simulator import draw_episode, occupancy_of
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.config import load
from sim2edge.errors import BadInput
from sim2edge.recipes.perception import CLASSES, FLOORS

CONFIG = CaptureConfig()
SPECS = [draw_episode(CONFIG, "rooms", index)[0] for index in range(40)]


def test_the_same_episode_is_drawn_the_same_and_the_next_is_another():
    assert draw_episode(CONFIG, "rooms", 3)[0] == SPECS[3]
    assert len({spec.room.texture_seed for spec in SPECS}) == len(SPECS)


def test_a_spec_survives_its_yaml_file():
    text = yaml.safe_dump(SPECS[0].model_dump(mode="json"))
    assert EpisodeSpec.model_validate(yaml.safe_load(text)) == SPECS[0]


@pytest.mark.parametrize("spec", SPECS[:15], ids=lambda spec: spec.episode_id)
def test_obstacles_keep_their_distance_and_stay_inside(spec):
    room = spec.room
    for obstacle in room.obstacles:
        corners = np.abs(np.array(obstacle.footprint))
        assert (corners <= (room.width_m / 2, room.length_m / 2)).all()
        others = (other for other in room.obstacles if other is not obstacle)
        assert all(hull_distance(obstacle.footprint, other.footprint) > CONFIG.room.gap_m - 1e-3 for other in others)


@pytest.mark.parametrize("spec", SPECS[:15], ids=lambda spec: spec.episode_id)
def test_a_goal_can_be_reached_from_the_start(spec):
    grid = occupancy_of(spec.room)
    goals = grid.goals(*spec.start)
    assert len(goals)
    steps = grid.steps_to(*grid.position(goals[0]))
    assert steps[grid.cell(*spec.start[:2])] > 0


def test_every_class_and_floor_appears_about_as_often():
    labels = [obstacle.label for spec in SPECS for obstacle in spec.room.obstacles]
    counts = [labels.count(name) for name in CLASSES]
    assert min(counts) > 0.7 * max(counts)
    assert {spec.room.floor for spec in SPECS} == set(FLOORS)


def test_a_room_that_cannot_hold_its_obstacles_is_refused_with_the_reasons():
    config = load(CaptureConfig, "capture", overrides=["room.gap_m=5"])
    with pytest.raises(BadInput, match=r"capture\.room: no drivable room in 50 draws .*crowded 50"):
        draw_episode(config, "rooms", 0)
