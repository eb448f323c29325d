"""The agent with real detector processes: what it does when something is not well, and whom it blames."""

import os
import signal

import pytest
from robot import Robot, with_file

from sim2edge.edge import trial
from sim2edge.edge.trial import Installed
from sim2edge.edge.verdict import Phase
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
    monkeypatch.setattr("sim2edge.edge.starvation.STOPPED", "not looked for")
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

    def crash(_status):
        duty = robot.detectors.on_duty
        if duty and duty.subject.installed == bad:
            duty._phase.set(Phase.INFERENCE)
            os.kill(duty.pid, signal.SIGSEGV)
        return robot.state.bans

    robot.until(crash)
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
