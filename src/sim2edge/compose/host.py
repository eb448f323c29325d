"""Check what the system in containers needs of this machine: settings, engine, ports, images; one line for an error.

The settings are those of `docker compose`: the environment, else `.env` beside `docker-compose.yaml`.
"""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dotenv import dotenv_values

from sim2edge.errors import BadInput, Unavailable
from sim2edge.lines import join_lines
from sim2edge.services.loopback import holder, is_taken

ROOT = Path(__file__).resolve().parents[3]
"""The checkout, with docker-compose.yaml."""

PORTS = {"airflow": 8080, "mlflow": 5000, "s3": 8333, "prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
"""Default ports of published services; SIM2EDGE_<SERVICE>_PORT overrides one."""

PROFILE_OF = {"s3": "s3", "grafana": "dashboards"}
ENGINE_TIMEOUT_S = 180
Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def read_settings(root: Path | None = None, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables for `docker compose`: those of `.env`, overridden by the environment."""
    found = dotenv_values((root or ROOT) / ".env", interpolate=False)
    return {**{name: value for name, value in found.items() if value is not None}, **environment}


def secrets_folder(settings: Mapping[str, str]) -> Path:
    """Return the folder of the secrets."""
    return ROOT / (settings.get("SIM2EDGE_SECRETS") or ".sim2edge/compose")


def port_of(service: str, settings: Mapping[str, str]) -> int:
    """Return the port of a published service on this machine.

    Raises:
        BadInput: the setting is not a port.
    """
    text = settings.get(f"SIM2EDGE_{service.upper()}_PORT") or str(PORTS[service])
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise BadInput(f"SIM2EDGE_{service.upper()}_PORT '{text}': not a port")
    return int(text)


def url_of(service: str, settings: Mapping[str, str]) -> str:
    """Return the address of a published service on this machine."""
    return f"http://127.0.0.1:{port_of(service, settings)}"


def published(settings: Mapping[str, str]) -> list[str]:
    """Return the services with a published port, by the active profiles."""
    profiles = (settings.get("COMPOSE_PROFILES") or "").split(",")
    return [service for service in PORTS if PROFILE_OF.get(service, profiles[0]) in profiles]


def socket_group(settings: Mapping[str, str]) -> int:
    """Return the group of the engine's socket, which the engine proxy joins.

    Raises:
        BadInput: there is no socket.
    """
    path = Path(settings.get("SIM2EDGE_DOCKER_SOCKET") or "/var/run/docker.sock")
    try:
        return path.stat().st_gid
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}: install and start a Docker engine first") from error


def complete_env_file(path: Path, settings: Mapping[str, str]) -> list[str]:
    """Add missing settings to `.env`, keeping existing lines; return the names added."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    there = dotenv_values(path, interpolate=False)
    new = {name: value for name, value in settings.items() if name not in there}
    if new:
        head = text if not text or text.endswith("\n") else text + "\n"
        path.write_text(head + "".join(f"{name}={value}\n" for name, value in new.items()), encoding="utf-8")
    return list(new)


def run_docker(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run `docker` (or the command in DOCKER) and capture its output."""
    command = [os.environ.get("DOCKER") or "docker", *arguments]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=ENGINE_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise BadInput(f"'{command[0]}' is not installed: install Docker with its compose plugin") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"the Docker engine did not answer within {ENGINE_TIMEOUT_S} s") from error


def must(arguments: Sequence[str], run: Run = run_docker) -> str:
    """Run `docker` and return its output.

    Raises:
        Unavailable: it fails; the message has the last line of its error.
    """
    answer = run(arguments)
    if answer.returncode != 0:
        said = answer.stderr.strip().splitlines() or ["no reason given"]
        raise Unavailable(f"docker {' '.join(arguments[:2])}: {said[-1]}")
    return answer.stdout


def stage_containers(settings: Mapping[str, str], run: Run = run_docker) -> list[str]:
    """Return the ids of the stage containers of this deployment."""
    deployment = settings.get("SIM2EDGE_DEPLOYMENT") or "sim2edge"
    return must(["ps", "--all", "--quiet", "--filter", f"label=sim2edge.deployment={deployment}"], run).split()


def check_no_data(project: str, run: Run = run_docker) -> None:
    """Check that the engine has no data of this project, before new secrets are created.

    Raises:
        BadInput: it has, and new secrets would not open them.
    """
    try:
        answer = run(["volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={project}"])
    except (BadInput, Unavailable):
        return  # without an engine there are no data; `check_engine` reports it later
    if answer.returncode == 0 and (volumes := answer.stdout.split()):
        raise BadInput(
            f"volume {volumes[0]} and {len(volumes) - 1} others hold data that only their earlier secrets open: "
            "restore that folder of secrets, or remove the data with `docker compose down --volumes`"
        )


def check_engine(run: Run = run_docker) -> None:
    """Check that an engine answers this user, and that compose is installed.

    Raises:
        BadInput: the command, the plugin or the permission is missing.
        Unavailable: no engine runs.
    """
    if run(["compose", "version"]).returncode != 0:
        raise BadInput("'docker compose' is not installed: install Docker's compose plugin (2.20 or later)")
    answer = run(["info", "--format", "{{.ServerVersion}}"])
    said = join_lines(answer.stderr)
    if "permission denied" in said:
        raise BadInput("no permission on the engine's socket: join its group (usually `docker`), or run as root")
    if answer.returncode != 0 or not answer.stdout.strip():
        raise Unavailable(f"the Docker engine does not answer: {said[:300]}")


def check_images(run: Run = run_docker) -> None:
    """Check that the engine has every image of ours that the services name.

    Raises:
        BadInput: some are missing; the message names them.
    """
    named = run(["compose", "config", "--images"])
    if named.returncode != 0:
        raise BadInput(f"docker-compose.yaml: {' '.join(named.stderr.split())[:300]}")
    ours = sorted({name for name in named.stdout.split() if name.startswith("sim2edge/")})
    there = run(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).stdout.split()
    missing = [name for name in ours if name not in there]
    if missing:
        raise BadInput(f"images are missing: {', '.join(missing)}: `make images` builds them")


def check_ports(settings: Mapping[str, str]) -> None:
    """Check that the ports are free, or held by the system itself.

    Raises:
        BadInput: one is taken; the message names it, its holder and how to choose another.
    """
    for service in published(settings):
        port = port_of(service, settings)
        process = holder(port) if is_taken(port) else None
        name = process.name() if process else "a process of another user"
        if is_taken(port) and name != "docker-proxy":
            who = f"{name} (pid {process.pid})" if process else name
            variable = f"SIM2EDGE_{service.upper()}_PORT"
            raise BadInput(f"port {port} ({service}) is taken by {who}: choose another with {variable} in .env")
