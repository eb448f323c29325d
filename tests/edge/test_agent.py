"""The agent with real detector processes: what it does when something is not well, and whom it blames."""

import errno
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from robot import Robot, with_file

from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.trial import Installed, Rules
from sim2edge.edge.judgement.verdict import Phase
from sim2edge.edge.supervision.switch_hook import SwitchHook
from sim2edge.errors import Unavailable

pytestmark = pytest.mark.slow


@pytest.fixture
def robot(tmp_path, members, bus):
    robot = Robot(tmp_path, members, bus)
    yield robot
    robot.end()


def test_a_release_is_installed_tried_and_accepted_and_followed_by_another(robot):
    robot.offer("r1")
    status = robot.until_running("r1")
    assert (status["previous"], status["restarts"], status["message"]) == (None, 0, "accepted")
    robot.offer("r2")
    status = robot.until_running("r2")
    assert (status["previous"], status["restarts"]) == ("r1", 0)
    assert robot.state.proven == {"a", "b"}


def test_a_slot_that_stays_unreadable_is_told_once_and_does_not_haste_the_server(robot, capsys):
    robot.slots.state = trial.State({"a": Installed("r1", "1")}, frozenset({"a"}), "a")
    robot.slots.problems["a"] = "Input/output error"
    woken = 0
    for _ in range(20):
        robot.agent.try_tick()
        woken += robot.agent.wake.is_set()
        robot.agent.wake.clear()
    assert capsys.readouterr().err.count('"damaged"') == 1
    assert woken == 1


def test_a_release_that_cannot_be_loaded_never_takes_the_camera(robot):
    robot.offer("r1")
    robot.until_running("r1")
    old = robot.duty.pid
    bad = robot.offer("r2", with_file("model.onnx", b"not a model"))
    robot.until(lambda s: s["failure"])
    robot.until_running("r1")
    assert robot.duty.pid == old, "the old detector never stopped"
    (ban,) = robot.state.bans
    assert ban.installed == bad
    assert "ONNX Runtime cannot load it" in ban.reason
    robot.until(lambda s: s["message"].startswith("held back: release r2 failed:"))


def test_a_hung_detector_cannot_ban_or_hold_up_its_cure(robot):
    """The new release is judged by its own process only, whatever the old one says or does not say."""
    robot.offer("r1")
    robot.until_running("r1")
    os.kill(robot.duty.pid, signal.SIGSTOP)
    robot.offer("r2")
    robot.until_running("r2")
    assert robot.state.bans == ()
    assert robot.state.rests == ()


def test_a_detector_that_hangs_is_started_anew(robot, monkeypatch):
    monkeypatch.setattr("sim2edge.edge.agent.UNWELL_S", 1.0)
    robot.offer("r1")
    robot.until_running("r1")
    hung = robot.duty.pid
    monkeypatch.setattr("sim2edge.edge.judgement.starvation.STOPPED", "not looked for")
    os.kill(hung, signal.SIGSTOP)
    status = robot.until(lambda s: s["restarts"] == 1)
    assert status["message"].startswith("the detector did not answer for 1 s, in ")
    robot.until_running("r1")
    assert robot.duty.pid != hung
    assert robot.state.bans == ()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_detector_that_is_killed_in_its_trial_is_not_blamed(robot, signal_number):
    robot.offer("r1")
    robot.until_running("r1")
    robot.offer("r2")
    os.kill(robot.until_on_trial("r2").pid, signal_number)
    robot.until_running("r2")
    assert robot.state.bans == ()


def test_a_detector_that_crashes_in_its_inference_is_rolled_back(robot):
    robot.offer("r1")
    robot.until_running("r1")
    robot.slots.faults["disk"] = "read-only file system"
    bad = robot.offer("r2")

    while not robot.state.bans:
        robot.step()
        if (duty := robot.detectors.on_duty) and duty.subject.installed == bad:
            crash(robot)
    (ban,) = robot.state.bans
    assert ban.reason == "the detector ended by SIGSEGV, in inference"
    robot.until_running("r1")


def test_a_release_is_not_blamed_for_a_dead_camera(robot):
    robot.offer("r1")
    robot.until_running("r1")
    robot.show(None)
    robot.offer("r2")
    robot.until(lambda s: s["message"].startswith("withdrawn: the camera gives no frames"))
    assert trial.running(robot.state).release == "r1"
    assert robot.state.bans == ()
    robot.until(lambda s: s["message"].startswith("held back: release r2 rests:"))
    robot.show(99)
    robot.slots.time += trial.REST_S
    robot.until_running("r2")


def test_a_release_that_cuts_the_device_off_is_withdrawn(robot):
    robot.offer("r1")
    robot.until_running("r1")
    robot.offer("r2")
    robot.until_on_trial("r2")
    robot.server.trouble = Unavailable("no route to host")
    robot.server.last_contact = None
    robot.until(lambda s: "the server was not reached" in s["message"])
    robot.until_running("r1")
    assert robot.state.bans == ()


def test_the_first_release_stays_when_there_is_nothing_to_go_back_to(robot):
    robot.offer("r1")
    robot.until_on_trial("r1")
    robot.server.trouble, robot.server.last_contact = Unavailable("no route to host"), None
    robot.until(lambda s: s["inferences"] > 250)
    assert robot.state.trial
    robot.server.trouble = None
    robot.until_running("r1")


def crash(robot):
    """End the detector on duty as a crash in its inference would."""
    pid = robot.duty.pid
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.05)
    robot.duty._phase.set(Phase.INFERENCE)
    os.kill(pid, signal.SIGSEGV)
    os.kill(pid, signal.SIGCONT)
    robot.until(lambda _: robot.detectors.on_duty is None or robot.duty.pid != pid)


def test_a_good_release_that_crashes_again_and_again_gives_way_to_the_proven_one(robot, monkeypatch):
    monkeypatch.setattr("sim2edge.edge.agent.FALL_BACK_CRASHES", 2)
    for release in ("r1", "r2"):
        robot.offer(release)
        robot.until_running(release)
    for _ in range(2):
        robot.until(lambda s: s["inferences"] and s["release"] == "r2")
        crash(robot)
    status = robot.until_running("r1")
    assert status["failure"]["release"] == "r2"
    assert status["failure"]["reason"] == "ended 2 times in a row: the detector ended by SIGSEGV, in inference"
    robot.until(lambda s: s["message"].startswith("held back: release r2 failed:"))


def test_the_health_check_is_red_in_a_crash_loop(robot, monkeypatch):
    monkeypatch.setattr("sim2edge.edge.supervision.detectors.CRASH_LOOP", 2)
    robot.offer("r1")
    robot.until_running("r1")
    for _ in range(2):
        robot.until(lambda s: s["inferences"])
        crash(robot)
    assert robot.until(lambda s: s["state"] == "crashing")["release"] == "r1"
    robot.until(lambda _: robot.detectors.on_duty and robot.duty.report.get("state") == "crashing")
    assert robot.duty.report["healthy"] is False
    assert robot.state.bans == (), "with nothing to go back to it goes on"


def test_the_port_says_so_while_nobody_is_on_duty(robot, monkeypatch):
    monkeypatch.setattr("sim2edge.edge.detector.stand_in.PATIENCE_S", 0.2)
    robot.offer("r1")
    robot.until_running("r1")
    port = robot.detectors.port
    monkeypatch.setattr("sim2edge.edge.supervision.detectors.restart_delay_s", lambda *_: 60.0)
    os.kill(robot.duty.pid, signal.SIGKILL)
    robot.until(lambda s: s["state"] == "down")
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10)
    assert answer.value.code == 503
    assert json.load(answer.value) == {"healthy": False, "state": "down", "error": "no detector is running"}


def test_a_device_short_of_files_goes_on_and_tries_again(robot, monkeypatch):
    robot.offer("r1")
    robot.until_running("r1")
    real, short = subprocess.Popen, True

    def popen(*words, **options):
        if short:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*words, **options)

    monkeypatch.setattr("subprocess.Popen", popen)
    robot.offer("r2")
    robot.until(lambda s: "Too many open files" in s["message"])
    assert robot.duty.subject.installed.release == "r1"
    short = False
    robot.until_running("r2")
    assert robot.state.bans == ()


def test_an_error_in_a_round_ends_nothing_and_is_reported(robot, monkeypatch):
    robot.offer("r1")
    robot.until_running("r1")
    with monkeypatch.context() as broken:
        broken.setattr(robot.detectors, "follow", lambda *_: 1 / 0)
        robot.step()
    assert robot.agent.status()["faults"] == {"agent": "ZeroDivisionError: division by zero"}
    robot.step()
    assert robot.agent.status()["faults"] == {}


def test_a_damaged_slot_gives_way_at_once(robot):
    for release in ("r1", "r2"):
        robot.offer(release)
        robot.until_running(release)
    robot.server.offer = None
    robot.slots.problems["b"] = "model.onnx: its SHA-256 is not the one in release.json"
    os.kill(robot.duty.pid, signal.SIGKILL)
    robot.until(lambda s: s["release"] == "r1" and s["inferences"])
    assert robot.state.bans == ()


def test_a_release_waits_for_the_robot_to_stand_still(tmp_path, members, bus, monkeypatch):
    monkeypatch.setattr("sim2edge.edge.supervision.switch_hook.ASK_EVERY_S", 0.1)
    robot = Robot(tmp_path, members, bus, hook=SwitchHook(tmp_path / "idle"))
    try:
        robot.offer("r1")
        robot.until_running("r1")
        robot.offer("r2")
        robot.until(lambda s: s["message"] == "release r2 is ready, and waits for a good time to switch")
        robot.run_for(1.0)
        assert robot.duty.subject.installed.release == "r1"
        (tmp_path / "idle").touch()
        robot.until_running("r2")
    finally:
        robot.end()


def test_a_device_without_a_camera_takes_updates(tmp_path, members, bus):
    robot = Robot(tmp_path, members, bus, rules=Rules(deadline_s=1.0, rate_hz=None), camera=None)
    try:
        robot.offer("r1")
        robot.until(lambda _: robot.state.active == "a")
    finally:
        robot.end()
