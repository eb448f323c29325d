"""The robot in MuJoCo: drives as it is told, is stopped by what it runs into, and both cameras see the same."""

import math
import subprocess
import sys
import weakref

import numpy as np
import pytest
from capture.hand_made import GREY, make_spec

from sim2edge.capture.camera_capture import check_renderer, egl_environment, probe_egl
from sim2edge.capture.config import CameraConfig
from sim2edge.capture.footprints import make_obstacle
from sim2edge.capture.movers import PERSONAL_SPACE_M
from sim2edge.capture.mujoco_simulator import MujocoSimulator
from sim2edge.capture.obstacles import limb
from sim2edge.capture.specs import TRACK_M, WHEEL_RADIUS_M, Motion
from sim2edge.episodes.moment import ROBOT_RADIUS_M, Command, Pose
from sim2edge.errors import BadInput


@pytest.fixture
def drive(small):
    """`drive(spec, command, ticks) -> (simulator, what was touched)`."""

    def run(spec, command: Command, ticks: int):
        simulator = MujocoSimulator(small, "ray")
        simulator.reset(spec)
        return simulator, set().union(*(simulator.step(command).touched for _ in range(ticks)))

    return run


def test_it_drives_straight_at_the_speed_it_is_told(drive, room_with):
    simulator, touched = drive(room_with(start=Pose(-2, 0, 0)), Command(0.5, 0.0), 40)
    x, y, yaw = simulator.pose()
    assert not touched
    assert x == pytest.approx(-2 + 0.5 * 4, abs=0.1)
    assert abs(y) < 0.05
    assert abs(yaw) < 0.03


def test_it_turns_left_on_the_spot(drive, room_with):
    simulator, touched = drive(room_with(), Command(0.0, 0.8), 20)
    x, y, yaw = simulator.pose()
    assert not touched
    assert yaw == pytest.approx(1.6, abs=0.25)  # wheels of some width scrub
    assert math.hypot(x, y) < 0.05


def test_running_into_a_box_is_a_collision(drive, room_with):
    simulator, touched = drive(room_with((1.0, 0, 0.2)), Command(0.6, 0.0), 30)
    assert touched == {"box"}
    assert simulator.pose().x_m < 0.7


def test_running_into_a_wall_is_a_collision(drive, room_with):
    assert drive(room_with(start=Pose(2.5, 0, 0)), Command(0.6, 0.0), 20)[1] == {"wall"}


def test_a_turn_is_felt_by_the_imu_and_by_the_wheels(small, room_with):
    simulator = MujocoSimulator(small, "ray")
    simulator.reset(room_with())
    for _ in range(10):
        advance = simulator.step(Command(0.0, 0.8))
    assert advance.imu.shape == (10, 6)
    assert advance.imu[:, 2].mean() == pytest.approx(0.8, abs=0.12)
    assert advance.imu[:, 5].mean() == pytest.approx(9.81, abs=0.05)
    left, right = advance.wheels
    assert right == pytest.approx(-left, abs=0.01)
    assert right * WHEEL_RADIUS_M / (TRACK_M / 2) == pytest.approx(0.1 * advance.imu[:, 2].mean(), abs=0.005)


def test_a_person_walks_and_waits_for_the_robot(small):
    walker = make_obstacle(
        0,
        "person",
        Pose(1.5, 0, math.pi),
        [[limb((0, 0, 0.1), (0, 0, 1.2), 0.1, GREY)]],
        motion=Motion(to_x_m=-1.5, to_y_m=0, speed_m_s=0.5, phase=0),
    )
    simulator = MujocoSimulator(small, "ray")
    simulator.reset(make_spec([walker], start=Pose(0, 0, 0)))
    seen = []
    for _ in range(40):
        assert not simulator.step(Command(0.0, 0.0)).touched
        view = simulator.observe()
        seen.append((view.obstacles[0].x_m, view.ranges.min()))
    assert seen[0][0] == pytest.approx(1.45, abs=0.01)
    assert seen[-1][0] == pytest.approx(PERSONAL_SPACE_M + ROBOT_RADIUS_M, abs=0.02)
    assert seen[-1][1] == pytest.approx(seen[-1][0] - 0.1, abs=0.03)


def test_the_same_commands_give_the_same_drive(drive, room_with):
    spec = room_with((1.0, 0.5, 0.2))
    assert drive(spec, Command(0.4, 0.5), 30)[0].pose() == drive(spec, Command(0.4, 0.5), 30)[0].pose()


def test_the_ray_camera_shows_the_floor_below_the_walls(small, room_with):
    simulator = MujocoSimulator(small, "ray")
    simulator.reset(room_with((1.2, 0, 0.2)))
    view = simulator.observe()
    assert view.image.shape == (48, 64, 3)
    assert view.image.std() > 10
    assert (view.instances == 0).mean() > 0.02
    assert set(np.unique(view.instances)) == {-1, 0}


def test_a_closed_simulator_holds_no_room(small, room_with):
    simulator = MujocoSimulator(small, "ray")
    simulator.reset(room_with((1.2, 0, 0.2)))
    room = weakref.ref(simulator._scene)
    simulator.close()
    assert room() is None


COMPARE = """
import sys
from sim2edge.capture.camera_capture import prepare_environment
prepare_environment("egl")
import numpy as np
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.mujoco_simulator import MujocoSimulator
from sim2edge.capture.room_simulator import draw_episode
config, views = CaptureConfig(), []
for index in range(2):
    for backend in ("ray", "egl"):
        simulator = MujocoSimulator(config, backend)
        simulator.reset(draw_episode(config, "both", index)[0])
        views.append(simulator.observe())
        simulator.close()
for ray, egl in (views[:2], views[2:]):
    assert (ray.instances == egl.instances).mean() > 0.98
    assert np.abs(ray.image.astype(int) - egl.image).mean() < 12
    assert (ray.ranges == egl.ranges).all()
"""


@pytest.mark.skipif(probe_egl() is None, reason="EGL does not work on this machine")
def test_both_cameras_show_the_same_scene():
    subprocess.run([sys.executable, "-c", COMPARE], check=True, timeout=120)


def test_egl_is_refused_where_it_is_not_what_the_config_declares(monkeypatch):
    declared = CameraConfig(backend="egl", renderer="llvmpipe, Mesa 1")
    for probe, refusal in (
        ("raise SystemExit(1)", r"capture\.camera\.backend: EGL does not work"),
        (
            "print('renderer: llvmpipe, Mesa 2')",
            "renderer: 'llvmpipe, Mesa 1' is declared, here it is 'llvmpipe, Mesa 2'",
        ),
    ):
        monkeypatch.setattr("sim2edge.capture.camera_capture.PROBE", probe)
        with pytest.raises(BadInput, match=refusal):
            check_renderer(declared)
    check_renderer(CameraConfig())
    monkeypatch.setattr("sim2edge.capture.camera_capture.PROBE", "print('renderer: llvmpipe, Mesa 1')")
    check_renderer(declared)


def test_software_egl_draws_on_one_thread_a_worker_and_one_width():
    assert egl_environment().items() >= {"LP_NUM_THREADS": "0", "LP_NATIVE_VECTOR_WIDTH": "256"}.items()
