"""The comparison of simulators notices what may go wrong between them: sides, channels, beams, axes."""

from dataclasses import replace

import numpy as np
import pytest

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.mujoco_simulator import MujocoSimulator
from sim2edge.capture.room_simulator import draw_episode
from sim2edge.capture.webots.parity import Check, best_turn, see, sensor_checks
from sim2edge.config import load


@pytest.fixture(scope="module")
def scene():
    """An episode, its config and a true view."""
    overrides = ["camera.width=96", "camera.height=72", "lidar_3d.enabled=true"]
    config = load(CaptureConfig, "capture", overrides=overrides)
    spec, _ = draw_episode(config, "parity", 1)
    simulator = MujocoSimulator(config, "ray")
    simulator.reset(spec)
    return spec, config, simulator.observe()


def failed(scene, **changes) -> set[str]:
    """The names of checks that fail for a changed view."""
    spec, config, view = scene
    checks = sensor_checks(see(spec, config, [replace(view, **changes)]))
    return {check.name.partition(":")[0] for check in checks if not check.passed}


def test_the_truth_passes(scene):
    assert failed(scene) == set()


def test_a_scan_the_other_way_round_fails(scene):
    assert "scan" in failed(scene, ranges=scene[2].ranges[::-1])


@pytest.mark.parametrize("beams", [-1, 1, 2])
def test_a_scan_turned_by_a_beam_fails(scene, beams):
    assert "scan" in failed(scene, ranges=np.roll(scene[2].ranges, beams))


def test_a_cloud_upside_down_fails(scene):
    assert failed(scene, cloud=scene[2].cloud[::-1]) == {"3D scan"}


def test_a_mirrored_mask_fails(scene):
    assert failed(scene, instances=scene[2].instances[:, ::-1]) >= {"masks", "labels"}


def test_an_instance_too_high_fails(scene):
    instances = scene[2].instances
    moved = np.where(instances >= 0, (instances + 1) % len(scene[0].room.obstacles), instances)
    assert "labels" in failed(scene, instances=moved.astype(np.int16))


def test_a_mirrored_image_fails(scene):
    assert "image" in failed(scene, image=scene[2].image[::-1])


def test_a_dark_image_fails(scene):
    assert failed(scene, image=scene[2].image // 4) == {"image"}


def test_no_number_never_passes():
    assert not Check("x", float("nan"), 1.0).passed
    assert not Check("x", float("nan"), 1.0, at_least=False).passed
    assert Check("x", 2.0, 1.0).line().startswith("ok ")


def test_a_turn_is_found_in_either_direction():
    scan = np.random.default_rng(0).uniform(1, 5, (2, 60))
    assert [best_turn(np.roll(scan, by, axis=1), scan) for by in (-2, 0, 3)] == [2, 0, -3]
