"""One robot as a process: its agent, its home on a small disk of its own, its camera, and its way to the server."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import psutil
from forwarder import Forwarder
from ota_server import OtaServer

WALL_CLOCK = Path(__file__).with_name("wall_clock.c")


@cache
def wall_clock() -> Path:
    """Build the library that sets a process's wall clock wrong."""
    library = Path(tempfile.mkdtemp(prefix="clock-")) / "wall_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, WALL_CLOCK], check=True)
    return library


class Robot:
    """One agent, its home on a small file system of its own, its camera, and its way to the server."""

    def __init__(self, folder: Path, server: OtaServer, environment: dict[str, str], seed: str) -> None:
        self.folder, self.server, self.ring = folder, server, f"ring-{seed}"
        self.home, self.camera, self.clock = folder / "disk" / "home", folder / "camera", folder / "clock"
        self.home.parent.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "robot", self.home.parent], check=True)
        self.set_clock(0)
        self.rate = 20.0
        self.process: subprocess.Popen[bytes] | None = None
        self.network = Forwarder("127.0.0.1", int(environment["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]))
        self.network.open()
        self._environment = environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.network.port}"}
        self.fill_camera()

    def fill_camera(self) -> None:
        """Put good frames before the camera."""
        shutil.rmtree(self.camera, ignore_errors=True)
        self.camera.mkdir()
        for index in range(3):
            cv2.imwrite(str(self.camera / f"{index}.jpg"), np.full((32, 32, 3), 80 * index, np.uint8))

    def set_clock(self, wrong_by_s: int) -> None:
        """Set the robot's wall clock wrong by so many seconds; its monotonic clock goes on."""
        new = self.clock.with_name("clock.new")
        new.write_text(str(wrong_by_s))
        new.replace(self.clock)

    def start(self) -> None:
        """Start the agent."""
        options = {"--id": self.ring, "--ring": self.ring, "--home": self.home, "--source": self.camera}
        options |= {"--root": self.server.keys.root_file, "--rate": self.rate, "--interval": 0.5}
        options |= {"--trial-inferences": 50, "--trial-seconds": 20}
        words = [str(word) for option in options.items() for word in option]
        clock = {"LD_PRELOAD": str(wall_clock()), "WALL_CLOCK_FILE": str(self.clock)}
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sim2edge", "device", "run", *words],
                env=os.environ | self._environment | clock,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """The agent and its detectors, the agent first."""
        with contextlib.suppress(psutil.Error):
            agent = psutil.Process(self.process.pid) if self.process else None
            return [agent, *agent.children(recursive=True)] if agent else []
        return []

    def detectors(self) -> list[psutil.Process]:
        """The detectors, the oldest first."""
        return sorted(self.processes()[1:], key=lambda process: process.create_time())

    def signal(self, number: int, processes: list[psutil.Process]) -> None:
        """Send a signal to processes that may be gone."""
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)

    def cut_power(self) -> None:
        """Kill everything at once."""
        self.signal(signal.SIGKILL, self.processes())
        if self.process:
            self.process.wait()

    def status(self) -> dict:
        """The status as the fleet sees it."""
        with contextlib.suppress(Exception):
            status = json.loads(self.server.bus.get(f"fleet/{self.ring}/status.json"))
            return status.get("signed", status)
        return {}

    def until_running(self, release: str, patience_s: float, failures: bool = False) -> bool:
        """Wait until the fleet sees a release run outside of a trial; False: it does not, or another one failed."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            status = self.status()
            if status.get("failure") and not failures:
                return False
            if status.get("release") == release and status.get("state") == "running":
                return True
            time.sleep(0.2)
        return False

    def end(self) -> None:
        """Stop everything and remove the disk."""
        self.signal(signal.SIGCONT, self.processes())
        self.cut_power()
        self.network.close()
        subprocess.run(["umount", "-l", self.home.parent], check=False)
