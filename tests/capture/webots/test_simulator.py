"""The Webots simulator on the stand-in: drives, sees and touches what MuJoCo does with the same episode."""

import controller
import numpy as np
import pytest
import standin_engine as engine

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.episode import capture_episode
from sim2edge.capture.mujoco_simulator import MujocoSimulator
from sim2edge.capture.room_simulator import draw_episode
from sim2edge.capture.simulator import WALL
from sim2edge.capture.webots.controller import main
from sim2edge.capture.webots.observing import Observing, read_observed
from sim2edge.capture.webots.parity import motion_checks, see, sensor_checks
from sim2edge.capture.webots.project import write_project
from sim2edge.capture.webots.simulator import WebotsSimulator
from sim2edge.config import load
from sim2edge.episodes.moment import Command, Pose


@pytest.fixture
def start(config, tmp_path):
    """`start(spec) -> simulator`, in a world of its own that nothing was refused in."""
    engines = []

    def run(spec, config=config):
        engines.append(engine.load(write_project(tmp_path / f"project {len(engines)}", spec, config).world))
        simulator = WebotsSimulator(config, controller.Supervisor())
        simulator.reset(spec)
        return simulator

    yield run
    assert [refusal for one in engines for refusal in one.refusals] == []


def test_both_simulators_see_the_same(start, config):
    for index in range(3):
        spec, _ = draw_episode(config, "see", index)
        simulator = start(spec)
        failed = [check.line() for check in sensor_checks(see(spec, config, [simulator.observe()])) if not check.passed]
        assert failed == []


def test_a_real_scanner_preset_is_aligned_beam_by_beam(start):
    overrides = ["lidar.preset=1081_over_270", "camera.width=64", "camera.height=48"]
    config = load(CaptureConfig, "capture", overrides=overrides)
    spec, _ = draw_episode(config, "preset", 0)
    ours, theirs = start(spec, config).observe().ranges, MujocoSimulator(config, "ray")
    theirs.reset(spec)
    exact = theirs.observe().ranges
    assert np.median(np.abs(ours - exact)) < 0.001
    assert (np.abs(ours - exact) < 0.02).mean() > 0.99


def test_the_same_commands_lead_to_the_same_place(start, config):
    spec, _ = draw_episode(config, "drive", 1)
    ours, theirs = start(spec), MujocoSimulator(config, "ray")
    theirs.reset(spec)
    upward = []
    for command in [Command(0.3, 0.6)] * 8 + [Command(0.0, -1.0)] * 7:
        one, other = ours.step(command), theirs.step(command)
        assert one.wheels == pytest.approx(other.wheels, abs=0.05)
        assert one.imu.shape == other.imu.shape == (10, 6)
        upward.append(one.imu[:, 5].mean())
    assert np.mean(upward) == pytest.approx(9.81, abs=0.3)
    assert ours.pose()[:2] == pytest.approx(theirs.pose()[:2], abs=0.02)
    assert ours.pose().yaw_rad == pytest.approx(theirs.pose().yaw_rad, abs=0.03)


def test_driving_on_touches_what_is_there(start, config):
    spec, _ = draw_episode(config, "bump", 0)
    wall = spec.model_copy(update={"room": spec.room.model_copy(update={"obstacles": ()})})
    simulator, touched = start(wall), frozenset()
    for _ in range(200):
        touched |= simulator.step(Command(0.7, 0.0)).touched
        if touched:
            break
    assert touched == {WALL}


def test_running_into_an_obstacle_names_its_class(start, config):
    spec, _ = draw_episode(config, "bump", 0)
    obstacle = next(one for one in spec.room.obstacles if one.label in ("box", "cylinder"))
    before = Pose(obstacle.x_m - 0.75, obstacle.y_m, 0.0)
    only = obstacle.model_copy(update={"instance": 0, "motion": None})
    room = spec.room.model_copy(update={"obstacles": (only,), "walls": ()})
    simulator = start(spec.model_copy(update={"room": room, "start": before}))
    touched = frozenset().union(*(simulator.step(Command(0.6, 0.0)).touched for _ in range(20)))
    assert touched == {obstacle.label}


def test_walkers_walk_alike(start, config):
    seeds = ((index, draw_episode(config, "walk", index)[0]) for index in range(40))
    spec = next(spec for _, spec in seeds if any(obstacle.motion for obstacle in spec.room.obstacles))
    ours, theirs = start(spec), MujocoSimulator(config, "ray")
    theirs.reset(spec)
    for _ in range(10):
        ours.step(Command(0.0, 0.0))
        theirs.step(Command(0.0, 0.0))
    one, other = ours.observe(), theirs.observe()
    np.testing.assert_allclose(one.obstacles, other.obstacles, atol=1e-6)
    (walker,) = [k for k, obstacle in enumerate(spec.room.obstacles) if obstacle.motion][:1]
    placed = engine.current.data.body(f"OBSTACLE_{walker}").xpos[:2]
    assert placed == pytest.approx(one.obstacles[walker][:2], abs=1e-6)


def test_an_absent_device_is_named(config, tmp_path):
    spec, _ = draw_episode(config, "absent", 0)
    project = write_project(tmp_path / "project", spec, config)
    project.world.write_text(project.world.read_text().replace('name "gyro"', 'name "giro"'))
    engine.load(project.world)
    with pytest.raises(RuntimeError, match="no 'gyro'"):
        WebotsSimulator(config, controller.Supervisor()).reset(spec)


def test_the_controller_leaves_an_outcome_and_its_observations(config, tmp_path):
    spec, _ = draw_episode(config, "whole", 0)
    project = write_project(tmp_path / "project", spec, config, observations=True)
    engine.load(project.world)
    assert main(str(project.task)) == 0
    assert engine.current.quit_status == 0
    observed = read_observed(project.observations)
    assert len(observed.views) == len(observed.commands) == len(observed.advances) == 15
    checks = motion_checks(spec, config, [v.pose for v in observed.views], observed.commands, observed.advances)
    assert [check.line() for check in checks if not check.passed] == []


def test_a_controller_that_fails_says_why(config, tmp_path):
    spec, _ = draw_episode(config, "fails", 0)
    project = write_project(tmp_path / "project", spec, config)
    project.world.write_text(project.world.read_text().replace('name "lidar"', 'name "radar"'))
    engine.load(project.world)
    assert main(str(project.task)) == 1
    assert engine.current.quit_status == 1
    assert "'lidar'" in project.failure.read_text()
    assert not project.outcome.exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_episodes(config, tmp_path):
    """Every layout, driven whole, without a refusal; sensors and motion within the limits in all of them."""
    lines, frames = [], 0
    for index in range(50):
        spec, _ = draw_episode(config, "fifty", index)
        running = engine.load(write_project(tmp_path / f"{index}", spec, config).world)
        observing = Observing(WebotsSimulator(config, controller.Supervisor()))
        result, drive = capture_episode(spec, observing, config, tmp_path / f"episode {index}")
        assert (running.refusals, drive.label_errors) == ([], [])
        checks = [*sensor_checks(see(spec, config, observing.observations))]
        checks += motion_checks(spec, config, drive.path, observing.commands, observing.advances)
        lines += [f"{spec.episode_id}: {check.line()}" for check in checks if not check.passed]
        frames += result.frames
    assert lines == []
    assert frames > 500
