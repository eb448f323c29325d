"""A robot in a test: the agent with real detector processes, and slots and a server that the test makes up."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tuf.api.metadata import TargetFile

from sim2edge.bus import Bus
from sim2edge.edge.agent import Agent, Identity
from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.trial import Installed, Rules, Slot, State, Step
from sim2edge.edge.judgement.verdict import Budgets
from sim2edge.edge.server.clock import DeviceClock
from sim2edge.edge.storage.home import RuntimeFolder, keep_token
from sim2edge.edge.supervision.detectors import Detectors
from sim2edge.edge.supervision.supervisor import DetectorProcess, ServiceSettings
from sim2edge.edge.supervision.switch_hook import SwitchHook

PATIENCE_S = 40.0


class MadeUpSlots:
    """Slots in memory, each a folder of the test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = State()
        self.damaged: set[Slot] = set()
        self.faults: dict[str, str] = {}
        self.folders: dict[Slot, Path] = {}
        self.budget = Budgets()
        self.time = 1_000_000.0
        self.clock = DeviceClock(home)
        self.written: list[str] = []
        self.problems: dict[Slot, str] = {}

    def apply(self, change: Callable[[State], State], must_last: bool = True) -> State:
        self.state = change(self.state)
        return self.state

    def verify(self, slot: Slot) -> str:
        problem = self.problems.get(slot, "")
        if problem:
            self.damaged.add(slot)
        return problem

    def folder(self, slot: Slot) -> Path:
        return self.folders[slot]

    def budgets(self, slot: Slot) -> Budgets:
        return self.budget

    def now(self) -> float:
        return self.time

    def check(self) -> None:
        return None

    def write_status(self, text: str) -> None:
        self.written.append(text)


@dataclass(frozen=True)
class MadeUpUpdate:
    """An answer of the server."""

    offer: Installed
    step: Step
    reason: str = ""


class MadeUpServer:
    """An updater whose server offers what the test says."""

    def __init__(self, slots: MadeUpSlots) -> None:
        self._slots = slots
        self.offer: Installed | None = None
        self.folder = Path()
        self.last_contact: float | None = None
        self.retry_after_s = 0.0
        self.ring = "canary"
        self.trouble: Exception | None = None
        self.agent: TargetFile | None = None

    def update(self) -> MadeUpUpdate:
        if self.trouble:
            raise self.trouble
        self.last_contact = time.monotonic()
        offer, slots = self.offer, self._slots
        if offer is None:
            return MadeUpUpdate(Installed("none", ""), Step.KEEP)
        step = trial.decide(slots.state, offer, slots.time, slots.damaged)
        slot = trial.slot_with(slots.state, offer, slots.damaged) or trial.free_slot(slots.state, slots.damaged)
        if step is Step.INSTALL:
            slots.folders[slot] = self.folder
        if step in (Step.INSTALL, Step.RETRY):
            slots.apply(lambda state: trial.begin(state, slot, offer))
        return MadeUpUpdate(offer, step, trial.held_back(slots.state, offer, slots.time))


class Robot:
    """The agent; the test drives its loops, so that nothing happens between two steps."""

    def __init__(
        self,
        folder: Path,
        members: Callable[..., dict[str, bytes]],
        bus: Bus,
        rules: Rules | None = None,
        hook: SwitchHook | None = None,
        camera: str | None = "",
    ) -> None:
        self.folder, self._members = folder, members
        self.camera = folder / "camera"
        self.camera.mkdir()
        self.show(99)
        self.slots = MadeUpSlots(folder)
        self.server = MadeUpServer(self.slots)
        source = str(self.camera) if camera == "" else camera
        settings = ServiceSettings(folder, source, port=0, rate_hz=50)
        keep_token(folder, RuntimeFolder(folder))
        self.detectors = Detectors(settings)
        rules = rules or Rules(inferences=10, deadline_s=4, rate_hz=50 if source else None)
        identity = Identity("pi-1", "canary", interval_s=0.3)
        self.agent = Agent(identity, bus, self.server, self.slots, self.detectors, rules, hook)  # type: ignore[arg-type]
        self._checked = 0.0

    def show(self, brightness: int | None) -> None:
        """Point the camera at a grey wall; None: put the cap on."""
        frame = np.full((32, 32, 3), brightness or 0, np.uint8)
        data = b"lens cap" if brightness is None else cv2.imencode(".jpg", frame)[1].tobytes()
        (self.camera / "0.jpg").write_bytes(data)

    def offer(
        self, release: str, change: Callable[[dict[str, bytes]], dict[str, bytes]] = dict, **fields: Any
    ) -> Installed:
        """Have the server offer a release, the tiny one of the tests with a change."""
        members = change(self._members(release=release, **fields))
        folder = self.folder / "releases" / release
        folder.mkdir(parents=True)
        for name, data in members.items():
            (folder / name).write_bytes(data)
        self.server.offer = Installed(release, hashlib.sha256(members["release.json"]).hexdigest())
        self.server.folder = folder
        return self.server.offer

    def step(self) -> None:
        """Do one round of each loop."""
        if time.monotonic() - self._checked > 0.3:
            self._checked = time.monotonic()
            self.agent._update()
        self.agent.try_tick()
        time.sleep(0.01)

    def until(self, condition: Callable[[Mapping[str, Any]], object], patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Go on until the status meets a condition; return it."""
        deadline = time.monotonic() + patience_s
        while not condition(status := self.agent.status()):
            assert time.monotonic() < deadline, status
            self.step()
        return status

    def until_running(self, release: str) -> dict[str, Any]:
        return self.until(lambda s: s["release"] == release and s["state"] == "running" and not self.state.trial)

    def until_on_trial(self, release: str) -> DetectorProcess:
        """Go on until a release on trial has the camera; return its detector."""

        def tries(_status: Mapping[str, Any]) -> bool:
            duty = self.detectors.on_duty
            return (
                duty is not None
                and trial.is_about(self.state, duty.subject)
                and duty.subject.installed.release == release
            )

        self.until(tries)
        return self.duty

    def run_for(self, seconds: float) -> None:
        """Go on for a time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.step()

    @property
    def state(self) -> State:
        """The state of its updates."""
        return self.slots.state

    @property
    def duty(self) -> DetectorProcess:
        """The detector that has the camera."""
        assert self.detectors.on_duty
        return self.detectors.on_duty

    def end(self) -> None:
        self.detectors.stop()


def with_file(name: str, data: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """A change of a release: another content of a file, all hashes right."""

    def change(members: dict[str, bytes]) -> dict[str, bytes]:
        release = json.loads(members["release.json"])
        release["files"][name] = hashlib.sha256(data).hexdigest()
        return members | {name: data, "release.json": json.dumps(release).encode()}

    return change


def in_background(action: Callable[[], None]) -> threading.Thread:
    """Start a thread."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread
