"""The agent with real detectors and a repository in memory: what it does when something is not well."""

import os
import signal
import threading
import time

import cv2
import numpy as np
import pytest
from ota_server import OtaServer

from sim2edge.bus import Bus
from sim2edge.edge import agent as agent_module
from sim2edge.edge import trial
from sim2edge.edge.agent import Agent, Identity
from sim2edge.edge.supervisor import ServiceSettings, read_token
from sim2edge.edge.trial import Rules
from sim2edge.errors import Unavailable

PATIENCE_S = 40
pytestmark = pytest.mark.slow


@pytest.fixture
def server(bus, tmp_path, members):
    server = OtaServer(bus, tmp_path / "server", members)
    server.publish("r1")
    return server


@pytest.fixture
def camera(tmp_path):
    """A folder that stands for the camera."""
    folder = tmp_path / "camera"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.jpg"), np.full((32, 32, 3), 99, np.uint8))
    return folder


class Running:
    """An agent whose main loop is driven by the test."""

    def __init__(self, server: OtaServer, home, camera, bus=None) -> None:
        updater, self.slots = server.device(home, bus=bus)
        settings = ServiceSettings(home, str(camera), port=0, rate_hz=50)
        read_token(settings.token_file)
        identity = Identity("pi-1", "canary", interval_s=0.3)
        self.agent = Agent(identity, bus or server.bus, updater, self.slots, settings, Rules(20, 0.05, deadline_s=4))
        self.stop = threading.Event()
        self.talker = threading.Thread(target=self.agent._talk, args=(self.stop,), daemon=True)
        self.talker.start()

    def until(self, condition) -> dict:
        """Drive the agent until its status meets a condition."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(status := self.agent.status()):
            assert time.monotonic() < deadline, status
            self.agent.tick()
            time.sleep(0.05)
        return status

    def until_running(self, release: str) -> dict:
        return self.until(lambda s: s["release"] == release and s["state"] == "running")

    def end(self) -> None:
        self.stop.set()
        self.agent.wake.set()
        self.agent._end("the test is over")
        self.talker.join(10)


@pytest.fixture
def start(server, camera, tmp_path):
    started = []

    def start_one(bus=None) -> Running:
        started.append(Running(server, tmp_path / "home", camera, bus))
        return started[-1]

    yield start_one
    for one in started:
        one.end()


def test_a_detector_that_hangs_is_started_anew(start, monkeypatch):
    running = start()
    running.until_running("r1")
    monkeypatch.setattr(agent_module, "UNWELL_FOR_S", 1.0)
    monkeypatch.setattr("sim2edge.edge.supervisor.PROBE_TIMEOUT_S", 0.3)
    os.kill(running.agent._detector._process.pid, signal.SIGSTOP)
    monkeypatch.setattr("sim2edge.edge.supervisor.STOP_GRACE_S", 0.3)
    status = running.until(lambda s: s["restarts"] == 1 and s["state"] == "starting")
    assert status["message"] == "the detector was not answering for 1 s"
    monkeypatch.setattr(agent_module, "UNWELL_FOR_S", 30.0)
    running.until_running("r1")
    assert running.slots.state.failures == ()


def test_a_release_is_not_blamed_for_a_dead_camera(server, start, camera):
    running = start()
    running.until_running("r1")
    (camera / "0.jpg").write_bytes(b"lens cap")
    server.publish("r2")
    running.until(lambda s: s["message"] == "held back: release r2 was withdrawn")
    assert trial.running(running.slots.state).release == "r1"
    assert running.slots.state.failures == ()


class DistantBus(Bus):
    """A bus that can be out of reach."""

    away = False

    def stream(self, key, start=0):
        if self.away:
            raise Unavailable("no route to host")
        return super().stream(key, start)

    def put(self, key, data, **condition):
        if self.away:
            raise Unavailable("no route to host")
        super().put(key, data, **condition)


def test_the_detector_runs_on_while_the_server_is_away(server, start):
    bus = DistantBus(server.bus._store)
    running = start(bus)
    running.until_running("r1")
    bus.away = True
    running.until(lambda s: "no route to host" in s["message"])
    before = running.agent.status()["inferences"]
    running.until(lambda s: s["inferences"] > before and s["state"] == "running")
    bus.away = False
    server.publish("r2")
    running.until_running("r2")


def test_a_release_that_cuts_the_device_off_is_withdrawn(server, start):
    bus = DistantBus(server.bus._store)
    running = start(bus)
    running.until_running("r1")
    server.publish("r2")
    running.until(lambda s: s["state"] == "trial")
    bus.away = True
    running.until_running("r1")
    assert running.slots.state.failures == ()


def test_the_first_release_stays_when_there_is_nothing_to_go_back_to(server, start):
    bus = DistantBus(server.bus._store)
    running = start(bus)
    running.until(lambda s: s["state"] == "trial")
    bus.away = True
    running.until(lambda s: s["inferences"] > 250)
    assert running.slots.state.trial
    bus.away = False
    running.until_running("r1")
