"""Drawn rooms: solvable, not overlapping, the same for the same episode, refused when nothing fits."""

import math
from collections import Counter
from typing import get_args

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.floors import HELD_OUT
from sim2edge.capture.footprints import hull_distance, placed_footprints, wall_footprint
from sim2edge.capture.furnish import OVERHEAD_M
from sim2edge.capture.room_simulator import ROOM_FLOORS, draw_episode, occupancy_of
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.config import load
from sim2edge.episodes.moment import Layout
from sim2edge.errors import BadInput
from sim2edge.recipes.perception import CLASSES

CONFIG = CaptureConfig()
SPECS = [draw_episode(CONFIG, "rooms", index)[0] for index in range(40)]


def test_the_same_episode_is_drawn_the_same_and_the_next_is_another():
    assert draw_episode(CONFIG, "rooms", 3)[0] == SPECS[3]
    assert len({spec.room.texture_seed for spec in SPECS}) == len(SPECS)


def test_a_spec_survives_its_yaml_file():
    text = yaml.safe_dump(SPECS[0].model_dump(mode="json"))
    assert EpisodeSpec.model_validate(yaml.safe_load(text)) == SPECS[0]


@pytest.mark.parametrize("spec", SPECS[:20], ids=lambda spec: f"{spec.episode_id} {spec.room.layout}")
def test_obstacles_keep_their_distance_and_stay_inside(spec):
    room = spec.room
    inner = [wall_footprint(wall) for wall in room.walls[4:] if wall.position[2] - wall.size[2] < OVERHEAD_M]
    shadows = [(obstacle, polygon) for obstacle in room.obstacles for polygon in placed_footprints(obstacle)]
    for obstacle, polygon in shadows:
        assert (np.abs(polygon) <= (room.width_m / 2, room.length_m / 2)).all()
        if obstacle.label != "door_frame":
            gap = CONFIG.room.gap_m - 1e-3
            assert all(hull_distance(polygon, other) > gap for owner, other in shadows if owner is not obstacle)
            assert all(hull_distance(polygon, wall) > gap for wall in inner)


@pytest.mark.parametrize("spec", SPECS[:20], ids=lambda spec: f"{spec.episode_id} {spec.room.layout}")
def test_every_checkpoint_can_be_reached_from_the_one_before(spec):
    grid, place = occupancy_of(spec.room), spec.start[:2]
    assert spec.checkpoints
    for checkpoint in spec.checkpoints:
        assert grid.steps_to(*checkpoint)[grid.cell(*place)] > 0
        place = checkpoint


def test_the_door_between_two_rooms_lets_the_robot_through():
    (spec,) = (spec for spec in SPECS[:5] if spec.room.layout == "two_rooms")
    grid, door = occupancy_of(spec.room), spec.room.obstacles[0]
    assert door.label == "door_frame"
    steps = grid.steps_to(door.x_m - 0.5, door.y_m)
    assert 0 < steps[grid.cell(door.x_m + 0.5, door.y_m)] < 40


def test_who_walks_has_the_way_for_it_and_does_not_start_at_the_robot():
    walkers = [(spec, one) for spec in SPECS for one in spec.room.obstacles if one.motion]
    assert walkers
    for spec, one in walkers:
        assert abs(one.motion.to_x_m) < spec.room.width_m / 2
        assert abs(one.motion.to_y_m) < spec.room.length_m / 2
        assert math.dist(one.pose[:2], spec.start[:2]) > 0.5


def test_classes_floors_and_layouts_appear_about_as_often():
    labels = [obstacle.label for spec in SPECS for obstacle in spec.room.obstacles]
    counts = [labels.count(name) for name in CLASSES]
    assert min(counts) > 0.6 * max(counts)
    assert Counter(spec.room.floor for spec in SPECS) == dict.fromkeys(ROOM_FLOORS, 10)
    assert Counter(spec.room.layout for spec in SPECS) == dict.fromkeys(get_args(Layout), 8)
    assert any(spec.room.rugs for spec in SPECS)


def test_textures_for_evaluation_are_never_used_for_training():
    held_out = load(CaptureConfig, "capture", overrides=["room.textures=held_out"])
    unseen = {draw_episode(held_out, "rooms", index)[0].room.style for index in range(8)}
    assert unseen == {style for floor in ROOM_FLOORS for style in HELD_OUT[floor]}
    assert not unseen & {spec.room.style for spec in SPECS}


@settings(max_examples=25, deadline=None)
@given(st.text("abc-", min_size=1, max_size=8), st.integers(0, 9999))
def test_any_episode_of_any_batch_is_drawn_within_its_ranges(batch, index):
    spec, _ = draw_episode(CONFIG, batch, index)
    camera = CONFIG.camera
    assert camera.height_m[0] <= spec.camera.height_m <= camera.height_m[1]
    assert camera.exposure[0] <= spec.camera.exposure <= camera.exposure[1]
    assert all(camera.tint[0] <= gain <= camera.tint[1] for gain in spec.camera.tint)
    assert all(CONFIG.robot.slip[0] <= share <= CONFIG.robot.slip[1] for share in spec.robot.slip)
    assert spec.room.obstacles


def test_a_room_that_cannot_hold_its_obstacles_is_refused_with_the_reasons():
    config = load(CaptureConfig, "capture", overrides=["room.gap_m=5"])
    with pytest.raises(BadInput, match=r"capture\.room: no drivable room in 50 draws .*crowded 50"):
        draw_episode(config, "rooms", 0)
