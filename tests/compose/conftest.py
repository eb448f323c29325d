"""A whole system of this test session's own, in containers: other ports, other names, secrets and volumes of its own.

The images come from `make images` (SIM2EDGE_TAG); those that cannot be pulled from variables, in CI those of
ci/compose.env.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sim2edge.compose import host
from sim2edge.compose.secrets import load_passwords, logins, make_secrets
from sim2edge.secrets_file import read_secrets
from sim2edge.services.loopback import basic, free_ports

ROOT = Path(__file__).parents[2]
UP_S = 600
ANSWER_S = 120
"""How long a service may take to answer: the machine is busy with all of them."""


class System:
    """One deployment, its settings and what it says."""

    def __init__(self, folder: Path) -> None:
        self.name = f"sim2edge-test-{os.getpid()}"
        self.secrets = folder / "secrets"
        ports = dict(zip(host.PORTS, free_ports(len(host.PORTS)), strict=True))
        self.settings = {
            **os.environ,
            **{f"SIM2EDGE_{service.upper()}_PORT": str(port) for service, port in ports.items()},
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_PROFILES": "s3",
            "SIM2EDGE_DEPLOYMENT": self.name,
            "SIM2EDGE_DOCKER_GID": str(host.socket_group({})),
            "SIM2EDGE_SECRETS": str(self.secrets),
            "SIM2EDGE_PRESET": "demo" if os.environ.get("WHOLE") == "1" else "tiny",
        }
        make_secrets(self.secrets)

    def docker(self, *arguments: str, timeout_s: float = UP_S) -> str:
        command = [os.environ.get("DOCKER") or "docker", *arguments]
        ended = subprocess.run(
            command, cwd=ROOT, env=self.settings, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert ended.returncode == 0, f"{' '.join(arguments)}: {ended.stderr[-2000:]}"
        return ended.stdout

    def up(self) -> None:
        self.docker("compose", "up", "--detach", "--wait")

    def sim2edge(self, *arguments: str, timeout_s: float = UP_S) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "sim2edge", "compose", *arguments]
        return subprocess.run(
            command, env=self.settings, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def services(self) -> dict[str, dict[str, str]]:
        """What `docker compose ps --all` says, by service."""
        said = self.docker("compose", "ps", "--all", "--format", "json").strip()
        rows = json.loads(said) if said.startswith("[") else [json.loads(line) for line in said.splitlines()]
        return {row["Service"]: row for row in rows}

    def containers(self) -> list[str]:
        return self.docker(
            "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}"
        ).split()

    def url(self, service: str) -> str:
        return host.url_of(service, self.settings)

    def login(self, service: str) -> dict[str, str]:
        return basic(*logins(self.secrets)[service])

    def get(
        self, service: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Status and body of a GET, or with a body of a POST; redirects not followed."""
        request = urllib.request.Request(self.url(service) + path, body, dict(headers or {}))  # noqa: S310
        try:
            with DIRECT.open(request, timeout=ANSWER_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def secret_values(self) -> set[str]:
        """Every value that nobody should see."""
        found = {value for value in load_passwords(self.secrets).model_dump().values() if value}
        for path in (self.secrets / "credentials").glob("*.env"):
            found |= {value for name, value in read_secrets(path).items() if name != "MLFLOW_TRACKING_USERNAME"}
        return found


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: object) -> None:
        return None


DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The system, up and healthy; nothing of it is left at the end."""
    running = System(tmp_path_factory.mktemp("compose"))
    try:
        running.up()
        yield running
    finally:
        running.sim2edge("down")
        running.docker("compose", "down", "--volumes", "--timeout", "5")
