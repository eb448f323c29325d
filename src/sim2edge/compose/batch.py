"""Run one batch through the system in containers, until the canary device runs the release."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from sim2edge.bus import Bus
from sim2edge.compose.host import url_of
from sim2edge.compose.secrets import CREDENTIALS, logins
from sim2edge.errors import Unavailable
from sim2edge.fleet import Device, read_fleet
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.follow.pipeline import Pipeline, highlights, judge
from sim2edge.follow.summary import print_summary, summarize_stages
from sim2edge.services.role_files import Login, read_variables

CANARY = "device-1"
DEVICE_DEADLINE_S = 180.0
POLL_S = 1.0


class BatchRun:
    """Runs batches through the system whose secrets are in `folder`, and reports on `console`."""

    def __init__(self, folder: Path, settings: Mapping[str, str], console: Console) -> None:
        self._folder = folder
        self._settings = settings
        self._console = console

    def run(self, batch: str, preset: str, overrides: list[str], report_file: Path | None = None) -> int:
        """Run one batch and return the exit code: 0 success, 1 a stage failed, 3 a gate refused.

        Raises:
            Unavailable: Airflow, S3 or the device does not answer in time.
        """
        began, started = time.monotonic(), time.time()
        url = url_of("airflow", self._settings)
        client = AirflowClient(url, *logins(self._folder)["airflow"])
        states = Pipeline(self._console, client, url).run(batch, preset, overrides)
        bus = self._bus()
        manifests = {state.stage: bus.open(state.reference) for state in states if state.reference}
        report: dict[str, Any] = {
            "batch": batch,
            "preset": preset,
            "stages": summarize_stages(states, manifests, started),
            "highlights": {},
        }
        code = judge(states)
        if code == 0:
            device = self._wait_for_device(bus, manifests["export"].id)
            report["device"] = device.model_dump(mode="json")
            report["highlights"] = highlights(manifests, device)
        report["seconds"] = round(time.monotonic() - began, 1)
        report["highlights"]["run"] = f"{report['seconds']:.0f} s"
        if report_file:
            report_file.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")
        entries = {"airflow": Login(url, *logins(self._folder)["airflow"])}
        print_summary(self._console, report, entries, "sim2edge compose logins")
        return code

    def _bus(self) -> Bus:
        """Connect to the bucket with the admin's keys, from this machine."""
        settings = self._settings
        os.environ.update(read_variables(self._folder / CREDENTIALS, "admin"))
        os.environ["SIM2EDGE_BUCKET"] = settings.get("SIM2EDGE_BUCKET") or "sim2edge"
        os.environ["AWS_REGION"] = settings.get("SIM2EDGE_S3_REGION") or "us-east-1"
        os.environ["AWS_ENDPOINT_URL"] = settings.get("SIM2EDGE_S3_ENDPOINT", url_of("s3", settings))
        return Bus.from_environment()

    def _wait_for_device(self, bus: Bus, release: str) -> Device:
        began = time.monotonic()
        while True:
            (device,) = read_fleet(bus, [CANARY])
            if device.runs(release):
                seconds = time.monotonic() - began
                self._console.print(f"{CANARY} runs release {release} after {seconds:.1f} s", soft_wrap=True)
                return device
            if time.monotonic() - began > DEVICE_DEADLINE_S:
                raise Unavailable(f"{CANARY} does not run {release} after {DEVICE_DEADLINE_S:.0f} s: {device}")
            time.sleep(POLL_S)
