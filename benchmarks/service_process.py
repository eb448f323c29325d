"""Run the detector's service as a process: `with running_service(folder) as process: process.port, process.pid`."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from sim2edge.processes import end, spawn

TOKEN = "benchmark"  # noqa: S105 - on loopback, for seconds
DEADLINE_S = 60.0


@dataclass(frozen=True)
class ServiceProcess:
    """A running service."""

    pid: int
    port: int

    @property
    def memory_mb(self) -> float:
        """Resident memory, MB."""
        return resident_mb(self.pid)


@contextmanager
def running_service(folder: Path) -> Iterator[ServiceProcess]:
    """Serve the bundle in `folder` on a free port, until the context ends."""
    with tempfile.TemporaryDirectory() as name:
        ready = Path(name) / "port"
        command = [sys.executable, "-m", "sim2edge.edge.detector.service", "--bundle", str(folder), "--port", "0"]
        environment = {**os.environ, "SIM2EDGE_DEVICE_TOKEN": TOKEN}
        log = Path(name) / "service.log"
        process = spawn([*command, "--ready-file", str(ready)], environment, Path(name), log)
        try:
            yield ServiceProcess(process.pid, wait_for_port(process, ready, log))
        finally:
            stop(process)


def wait_for_port(process: subprocess.Popen[bytes], ready: Path, log: Path) -> int:
    """Wait for the service and return the port that it reports.

    Raises:
        RuntimeError: it ended, or did not start in time.
    """
    deadline = time.monotonic() + DEADLINE_S
    while (port := read_port(ready)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the service did not start: {log.read_text()[-500:]}")
        time.sleep(0.02)
    return port


def read_port(ready: Path) -> int | None:
    """Return the port in a ready file; None while the file does not exist."""
    try:
        return int(ready.read_text())
    except (OSError, ValueError):
        return None


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started with `spawn`."""
    if process.poll() is None:
        end([psutil.Process(process.pid)], grace_s=10)
    process.wait()


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process, MB."""
    return float(psutil.Process(pid).memory_info().rss) / 2**20
