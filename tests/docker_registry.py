"""A real registry with a login, on loopback: Debian's `docker-registry` (ci/engine.sh installs it).

    with Registry(folder) as registry:
        registry.push(engine, "sim2edge-test/stage:1", "lab/capture:1")     # -> "127.0.0.1:<port>/lab/capture:1"

An engine takes a registry on loopback without TLS.
"""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import docker

from sim2edge.services.loopback import free_ports

USER, PASSWORD = "ann", "correct-horse"
HASH = "$2y$05$abcdefghijklmnopqrstuuZ0Fx87Pb/Aqb0E90lfvCwzXnaFKUHpS"
"""Of `PASSWORD`, by bcrypt, the only kind the registry takes."""
START_S = 30


class Registry:
    """A registry that only `USER` may use."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.name = f"127.0.0.1:{port}"
        self.folder = folder
        self.login = {"username": USER, "password": PASSWORD}
        (folder / "htpasswd").write_text(f"{USER}:{HASH}\n")
        settings = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": self.name},
            "auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}},
        }
        (folder / "config.yml").write_text(json.dumps(settings))

    def __enter__(self) -> "Registry":
        program = shutil.which("docker-registry")
        assert program, "docker-registry is not installed: ci/engine.sh does it"
        with (self.folder / "log").open("wb") as log:
            command = [program, "serve", str(self.folder / "config.yml")]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        until = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()[-500:]
            assert time.monotonic() < until, "the registry does not answer"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def push(self, engine: docker.DockerClient, image: str, path: str) -> str:
        """Put an image of the engine into the registry, and take its new name from the engine; returns that name."""
        name = f"{self.name}/{path}"
        engine.api.tag(image, name)
        for event in engine.api.push(name, stream=True, decode=True, auth_config=self.login):
            assert "error" not in event, event
        engine.api.remove_image(name)
        return name

    def digest(self, engine: docker.DockerClient, name: str) -> str:
        """The name by digest of an image in the registry."""
        found: dict[str, Any] = engine.api.inspect_distribution(name, auth_config=self.login)
        return f"{name.rpartition(':')[0]}@{found['Descriptor']['digest']}"

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.name}/v2/", timeout=2)
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False
        return True
