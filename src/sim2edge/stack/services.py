"""Define a `Service` of the stack: how to start its process, its health check, and its dependencies."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sim2edge.stack.settings import StackSettings

DROPPED = ("AWS_", "MLFLOW_", "_MLFLOW_", "AIRFLOW_", "_AIRFLOW_")
"""Prefixes of the user's own accounts and servers: a session token or profile would override the stack's keys."""


@dataclass(frozen=True)
class Service:
    """One process of the stack, or one task of its start (`healthy` is None: done when it ends with code 0)."""

    name: str
    command: tuple[str, ...]
    folder: Path
    """Its working directory."""
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    healthy: Callable[[float], bool] | None = None
    """Called with the time (Unix, s) at which the process was started."""
    after: tuple[str, ...] = ()
    """Names of the services that have to be healthy, or done, first."""
    port: int | None = None
    url: str = ""
    deadline_s: float = 180.0
    """Seconds after which a start has failed."""
    prepare: Callable[[], None] | None = None
    """Writes the files that the process reads, before each start."""


def log_path(settings: StackSettings, name: str) -> Path:
    """Return the log file of service `name`."""
    return settings.home / "logs" / f"{name}.log"


def plain_environment() -> dict[str, str]:
    """Return this process's environment without foreign accounts, and with loopback exempt from any proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, [kept.get(name), "127.0.0.1", "localhost"]))
    return kept
