"""Run one batch through the whole loop on the local stack, then a virtual device that runs the release.

    sim2edge demo [--batch demo-1] [--preset demo] [--set augment.copies=2]... [--stop]

Starts the stack (or uses a running one), triggers the pipeline through Airflow's scheduler and follows it, lets a
virtual device update itself over the air, and ends with a summary on the terminal and in `.sim2edge/demo.json`. What
it started stays up until Ctrl-C; with `--stop` it stops at once. Exit code 3: the model was refused.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from sim2edge.bus import Bus
from sim2edge.demo.memory import MemoryWatch
from sim2edge.demo.virtual_device import VirtualDevice, enrol_virtual, write_unseen_frames
from sim2edge.fleet import Device
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.follow.pipeline import Pipeline, highlights, judge
from sim2edge.follow.stages import StageState
from sim2edge.follow.summary import print_summary, summarize_stages
from sim2edge.manifest import Manifest, check_partition
from sim2edge.private_files import write_private
from sim2edge.stack.client import Event, Stack
from sim2edge.stack.definitions import DEVICES
from sim2edge.stack.settings import load_settings
from sim2edge.stack.update_repository import init_updates

RING = "canary"
DEVICE = DEVICES[0]
DEVICE_DEADLINE_S = 120.0


def main(argv: Sequence[str]) -> int:
    """Run the demonstration and return its exit code."""
    arguments = parser().parse_args(argv)
    check_partition(arguments.batch)
    return Demo(arguments.batch, arguments.preset, arguments.set, stop=arguments.stop).run()


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--batch", default="demo-1", help="the batch to capture (default demo-1)")
    top.add_argument("--preset", default="demo", help="a file of conf/, without .yaml (default demo)")
    top.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="override a stage's config")
    top.add_argument("--stop", action="store_true", help="stop everything at the end")
    return top


class Demo:
    """One run of the demonstration."""

    def __init__(self, batch: str, preset: str, overrides: Sequence[str], *, stop: bool) -> None:
        self._batch = batch
        self._preset = preset
        self._overrides = list(overrides)
        self._stop = stop
        self._console = Console(highlight=False)
        self._stack = Stack(load_settings({"preset": preset}))
        self._home = Path(self._stack.home)
        self._began = time.monotonic()

    def run(self) -> int:
        """Run all steps in order; at the end, however it comes, stop what was started."""
        with ExitStack() as cleanup:
            if self._stack.start(self._on_event, attached=True):
                cleanup.callback(self._stack.stop)
            else:
                self._say("using the running stack")
            os.environ.update(self._stack.environment())
            bus = Bus.from_environment()
            self._say(init_updates(self._stack))
            keys, home = self._stack.role(f"device-{DEVICE}"), self._home / "devices" / DEVICE
            enrol_virtual(bus, DEVICE, RING, home)
            device = VirtualDevice(DEVICE, RING, home, self._trusted_root(), keys)
            if any(device.camera.glob("*.jpg")):  # it ran before: start it first, so that it updates itself
                cleanup.enter_context(device)
                self._say(f"device {DEVICE} is running release {device.status().release}")
            watch = cleanup.enter_context(MemoryWatch(self._processes()))
            return self._pipeline(bus, device, watch, cleanup)

    def _pipeline(self, bus: Bus, device: VirtualDevice, watch: MemoryWatch, cleanup: ExitStack) -> int:
        started = time.time()
        states = self._follow()
        manifests = {s.stage: bus.open(s.reference) for s in states if s.reference}
        report: dict[str, Any] = {
            "batch": self._batch,
            "preset": self._preset,
            "stages": summarize_stages(states, manifests, started),
            "highlights": {},
            "urls": self._stack.urls(),
        }
        code = judge(states)
        if code == 0:
            status = self._update_device(bus, device, manifests, cleanup)
            report["device"] = status.model_dump(mode="json")
            report["highlights"] = highlights(manifests, status)
        report["seconds"] = round(time.monotonic() - self._began, 1)
        report["peak_memory_mb"] = round(watch.peak_bytes / 1e6)
        report["highlights"]["run"] = f"{report['seconds']:.0f} s, at most {report['peak_memory_mb']} MB of memory"
        write_private(self._home / "demo.json", json.dumps(report, indent=1, default=str) + "\n")
        print_summary(self._console, report, self._stack.logins())
        self._say(f"the same as JSON: {self._home / 'demo.json'}")
        if not self._stop:
            self._stay()
        return code

    def _follow(self) -> list[StageState]:
        login = self._stack.logins()["airflow"]
        pipeline = Pipeline(self._console, AirflowClient(login.url, login.user, login.password), login.url)
        return pipeline.run(self._batch, self._preset, self._overrides)

    def _update_device(
        self, bus: Bus, device: VirtualDevice, manifests: dict[str, Manifest], cleanup: ExitStack
    ) -> Device:
        if not device.running:
            frames = write_unseen_frames(bus, manifests["augment"].reference, device.camera)
            self._say(f"device {DEVICE} starts; its camera shows {frames} frames of unseen episodes")
            cleanup.enter_context(device)
        release = manifests["export"].id
        began = time.monotonic()
        status = device.wait_for(release, DEVICE_DEADLINE_S)
        self._say(f"device {DEVICE} runs release {release} after {time.monotonic() - began:.1f} s")
        return status

    def _stay(self) -> None:
        self._say("everything stays up until Ctrl-C")
        try:
            while self._stack.running():
                time.sleep(0.5)
        except KeyboardInterrupt:
            self._say("stopping")

    def _trusted_root(self) -> Path:
        return Path(os.environ["SIM2EDGE_KEYS"]) / "root.json"

    def _processes(self) -> list[int]:
        state = self._stack.state()
        return [os.getpid(), *([state.supervisor.pid] if state and state.supervisor else [])]

    def _on_event(self, event: Event) -> None:
        self._say(f"{event.seconds:6.1f} s  {event.service:<22} {event.phase}")

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)
