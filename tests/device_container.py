"""A device as a fleet runs it: the device image, locked down, its home on a volume, the server across the network."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from ota_server import OtaServer

DOCKER = os.environ.get("DOCKER", "docker")
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
PATIENCE_S = 240
"""Under emulation, a start takes 20 seconds, and a bad release is started three times."""
PASSED_ON = ("SIM2EDGE_BUCKET", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


def docker(*words: object, timeout: float = 120) -> str:
    """Run a docker command; what it prints."""
    done = subprocess.run(
        [DOCKER, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()


class DeviceContainer:
    """A device of ring canary; the S3 server is the one of this process's environment."""

    def __init__(self, image: str, architecture: str, server: OtaServer, camera: Path) -> None:
        self._bus = server.bus
        self.name = f"pi-{architecture}-{uuid.uuid4().hex[:6]}"
        passed = [word for name in PASSED_ON for word in ("-e", f"{name}={os.environ[name]}")]
        volumes = ["-v", "/data", "-v", f"{server.keys.root_file}:/root.json:ro", "-v", f"{camera}:/camera:ro"]
        options = {
            "--id": self.name,
            "--ring": "canary",
            "--home": "/data",
            "--root": "/root.json",
            "--source": "/camera",
            "--rate": 5,
            "--interval": 1,
            "--trial-inferences": 3,
            "--trial-seconds": 120,
        }
        words = [word for option in options.items() for word in option]
        how = ("--platform", f"linux/{architecture}", "--network", "host", *LOCKED_DOWN)
        self.id = docker("run", "--detach", *how, *passed, *volumes, image, "device", "run", *words)

    def until(self, condition: Callable[[dict], bool]) -> dict:
        """Wait until the fleet's record of the device meets a condition; the record."""
        deadline = time.monotonic() + PATIENCE_S
        status: dict = {}
        while time.monotonic() < deadline and docker("inspect", "--format", "{{.State.Running}}", self.id) == "true":
            found = self._bus.get_tagged(f"fleet/{self.name}/status.json")
            status = json.loads(found[0]) if found else {}
            if status and condition(status):
                return status
            time.sleep(0.3)
        raise AssertionError(f"{status}\n{docker('logs', '--tail', '30', self.id)}")

    def until_running(self, release: str) -> dict:
        return self.until(lambda s: s["release"] == release and s["state"] == "running" and s["inferences"] > 0)

    def memory(self) -> str:
        """Memory of all its processes, as the engine counts it."""
        return docker("stats", "--no-stream", "--format", "{{.MemUsage}}", self.id).partition(" /")[0]

    def end(self) -> None:
        docker("rm", "--force", "--volumes", self.id)
