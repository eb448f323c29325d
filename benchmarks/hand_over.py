"""Measure how long a device is without inference when it switches between releases: `python -m benchmarks.hand_over`.

    python -m benchmarks.hand_over --switches 100 [--bundle FOLDER]

Four kinds of switch, each with real detector processes, a real update repository and the device's own files:

- idle: no switch, for comparison: what the machine's other work costs;
- good: the new release is accepted;
- refused: its file is no model, so it never takes the camera;
- rolled_back: it takes the camera, and then fails its trial by its own fault;
- hung: the detector on duty hangs when the new release comes.

The figure of a switch is the longest time between two inferences, whichever release made them, from the offer to the
end of the switch; at 50 frames a second 20 ms are the camera's.
"""

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from obstore.store import MemoryStore

from benchmarks.results import Result
from benchmarks.workplace import RING, open_workplace
from sim2edge.bus import Bus
from sim2edge.edge.agent import TICK_S, Agent, Identity
from sim2edge.edge.bundle import RELEASE_FILE, write_bundle
from sim2edge.edge.judgement.trial import Rules, Slot
from sim2edge.edge.judgement.verdict import Budgets
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.storage.home import RuntimeFolder, keep_token
from sim2edge.edge.storage.slots import Slots
from sim2edge.edge.supervision import supervisor
from sim2edge.edge.supervision.detectors import Detectors
from sim2edge.edge.supervision.supervisor import DetectorProcess, ServiceSettings
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder
from sim2edge.push.repository import Repository
from sim2edge.push.run import read_bundle

RATE_HZ = 50.0
SAMPLE_S = 0.01
DEADLINE_S = 120.0
IDLE_S = 5.0
KINDS = ("idle", "good", "refused", "rolled_back", "hung")
LIMITED = ("good", "refused", "rolled_back")
GOAL_S = 2.0
GREEDY = "greedy"
"""Releases whose names begin so are held to a memory budget of 1 MB: they pass every check but the trial."""


class StrictSlots(Slots):
    """The device's slots, with a budget that the greedy releases of this measurement exceed."""

    def budgets(self, slot: Slot) -> Budgets:
        """See `Slots`."""
        held = self.state.slots.get(slot)
        return Budgets(memory_mb=1) if held and held.release.startswith(GREEDY) else Budgets()


class Shop:
    """A repository in memory, and releases made from the files of one."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.bus, self.folder = Bus(MemoryStore()), folder
        self.keys = KeyFolder(folder / "keys")
        self._repository = Repository(self.bus, self.keys, PushConfig())
        self._repository.create()
        self._files = {path.name: path.read_bytes() for path in bundle.iterdir()}

    def publish(self, release: str, broken: bool = False) -> None:
        """Offer a release; a broken one has no model in its model file."""
        about = json.loads(self._files[RELEASE_FILE]) | {"release": release}
        files = dict(self._files)
        if broken:
            files[about["model_file"]] = b"no model"
            about["files"][about["model_file"]] = hashlib.sha256(b"no model").hexdigest()
        path = self.folder / "bundle.tar"
        write_bundle(path, files | {RELEASE_FILE: json.dumps(about).encode()})
        self._repository.publish("canary", read_bundle(path))


class Device:
    """A device whose inferences are watched."""

    def __init__(self, folder: Path, shop: Shop) -> None:
        self.slots = StrictSlots(folder / "home")
        self.slots.roots.provision(shop.keys.root_file)
        camera = folder / "camera"
        camera.mkdir()
        cv2.imwrite(str(camera / "0.jpg"), np.full((120, 160, 3), 99, np.uint8))
        keep_token(self.slots.home, RuntimeFolder(self.slots.home))
        self.detectors = Detectors(ServiceSettings(self.slots.home, str(camera), port=0, rate_hz=RATE_HZ))
        updater = OtaUpdater(shop.bus, "canary", self.slots)
        identity = Identity("bench", "canary", interval_s=0.2)
        self.agent = Agent(identity, shop.bus, updater, self.slots, self.detectors, Rules(deadline_s=30))
        self.inferences: set[float] = set()
        self._stop = threading.Event()
        self._ticked = 0.0
        threading.Thread(target=self.agent._talk, args=(self._stop,), daemon=True).start()

    def until(self, condition: Callable[[], object]) -> None:
        """Work until a condition is met.

        Raises:
            RuntimeError: it is not met in time.
        """
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the device did not get there: {self.agent.status()}")
            now = time.monotonic()
            if self.detectors.hands_over or now - self._ticked >= TICK_S:
                self._ticked = now
                self.agent.try_tick()
            self._sample()
            time.sleep(SAMPLE_S)

    def _sample(self) -> None:
        for process in (self.detectors.on_duty, *list(self.detectors._processes)):
            if process is not None:
                process.poll()
                self._note(process)

    def _note(self, process: DetectorProcess) -> None:
        age = process.report.get("last_inference_age_s")
        if age is not None and process.report is not getattr(process, "noted", None):
            process.noted = process.report  # type: ignore[attr-defined]
            self.inferences.add(time.monotonic() - age)

    def longest_gap_s(self, since: float) -> float:
        """Return the longest time without an inference from `since` until the last one."""
        times = sorted(each for each in self.inferences if each >= since)
        before = max((each for each in self.inferences if each < since), default=since)
        return max(after - first for first, after in zip([before, *times], times, strict=False))

    def end(self) -> None:
        """End its processes."""
        self._stop.set()
        self.agent.wake.set()
        self.detectors.stop()


def switch(shop: Shop, device: Device, kind: str, number: int) -> float:
    """Make one switch; return the seconds without inference."""
    release = f"{GREEDY if kind == 'rolled_back' else kind}-{number}"
    since = time.monotonic()
    if kind == "idle":
        device.until(lambda: time.monotonic() > since + IDLE_S)
        return device.longest_gap_s(since)
    if kind == "hung" and device.detectors.on_duty:
        os.kill(device.detectors.on_duty.pid, signal.SIGSTOP)
    shop.publish(release, broken=kind == "refused")
    device.agent.wake.set()
    done = accepted if kind in ("good", "hung") else banned
    device.until(lambda: done(device, release))
    steady = time.monotonic() + 1.0
    device.until(lambda: time.monotonic() > steady)
    return device.longest_gap_s(since)


def accepted(device: Device, release: str) -> bool:
    """Return whether a release is on duty and has passed its trial."""
    state, duty = device.slots.state, device.detectors.on_duty
    return bool(duty and state.active == duty.subject.slot and duty.subject.installed.release == release)


def banned(device: Device, release: str) -> bool:
    """Return whether a release was banned, and another one is on duty."""
    duty = device.detectors.on_duty
    known = any(ban.installed.release == release for ban in device.slots.state.bans)
    return bool(known and duty and duty.subject.installed.release != release)


def measure_switches(bundle: Path, switches: int, kinds: Sequence[str]) -> Iterator[tuple[str, Sequence[float]]]:
    """Yield the seconds without inference of each switch, by kind."""
    supervisor.ASK_EVERY_S = SAMPLE_S  # type: ignore[misc]
    with tempfile.TemporaryDirectory(prefix="hand-over-") as name:
        folder = Path(name)
        shop = Shop(folder, bundle)
        shop.publish("first")
        device = Device(folder, shop)
        try:
            device.until(lambda: accepted(device, "first"))
            for kind in kinds:
                yield kind, [switch(shop, device, kind, number) for number in range(switches)]
        finally:
            device.end()


def summarize(kind: str, gaps: Sequence[float]) -> Iterator[Result]:
    """Yield the median and the 99th percentile."""
    ordered = sorted(gaps)
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        value = ordered[min(int(share * len(ordered)), len(ordered) - 1)]
        note = f"without inference; {len(ordered)} switches, at most {ordered[-1]:.3f} s"
        limit = {"most": 1.0} if kind in LIMITED else {}
        yield Result(f"hand_over.{kind}.{label}", value, "s", "limit", GOAL_S, **limit, note=note)


@contextmanager
def find_bundle(folder: Path | None) -> Iterator[Path]:
    """Yield the bundle to make releases of: the given one, or that of a release made for this measurement."""
    if folder is not None:
        yield folder
        return
    with open_workplace() as place:
        place.stage("push")
        slots = Slots(place.new_folder("device"))
        slots.roots.provision(place.keys / "root.json")
        OtaUpdater(place.bus, RING, slots).update()
        yield slots.folder("a")


def main() -> int:
    """Measure, and print a JSON line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hand_over", description=__doc__)
    parser.add_argument("--switches", type=int, default=20, help="switches of each kind")
    made = "folder of an unpacked bundle to make releases of; default: one from all stages"
    parser.add_argument("--bundle", type=Path, help=made)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    arguments = parser.parse_args()
    with find_bundle(arguments.bundle) as bundle:
        for kind, gaps in measure_switches(bundle, arguments.switches, arguments.kinds):
            for result in summarize(kind, gaps):
                print(json.dumps(result.to_json()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
