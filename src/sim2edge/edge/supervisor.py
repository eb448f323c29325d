"""Run the detector service as a child process: start, probe and stop it, and never leave it behind.

detector = DetectorProcess(settings, folder)
detector.health()           # the body of /healthz; None while the service does not answer
detector.stop()
"""

import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sim2edge.edge.durable import write_durably
from sim2edge.edge.events import log
from sim2edge.prctl import die_with_parent

PROBE_TIMEOUT_S = 2.0
STOP_GRACE_S = 5.0
CRASH_WINDOW_S = 60.0
MAX_RESTART_DELAY_S = 30.0
WITHHELD = ("AWS_", "SIM2EDGE_KEYS", "SIM2EDGE_BUCKET")
"""Environment variables withheld from the detector."""


@dataclass(frozen=True)
class ServiceSettings:
    """The settings the service is started with."""

    home: Path
    source: str | None
    port: int
    rate_hz: float
    threads: int = 1
    host: str = "127.0.0.1"
    """Listening address; probed on loopback when it is 0.0.0.0."""
    metrics_token_file: Path | None = None

    @property
    def probe_host(self) -> str:
        """Address to probe."""
        return "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104

    @property
    def token_file(self) -> Path:
        """File with the token that every request needs."""
        return self.home / "token"

    @property
    def ready_file(self) -> Path:
        """File that receives the port once the service answers."""
        return self.home / "service.port"

    def command(self, folder: Path) -> Sequence[str]:
        """Return the command line that serves the bundle in `folder`."""
        options = {
            "--bundle": folder,
            "--host": self.host,
            "--port": self.port,
            "--token-file": self.token_file,
            "--rate": self.rate_hz,
            "--threads": self.threads,
            "--ready-file": self.ready_file,
            **({"--source": self.source} if self.source else {}),
            **({"--metrics-token-file": self.metrics_token_file} if self.metrics_token_file else {}),
        }
        words = [str(word) for option in options.items() for word in option]
        return [sys.executable, "-m", "sim2edge.edge.service", *words]


class DetectorProcess:
    """One run of the service; the child ends with this process, even when this process is killed."""

    def __init__(self, settings: ServiceSettings, folder: Path) -> None:
        """Start the service; call this from the main thread.

        The kernel ends the child when the thread that started it ends:
        https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
        """
        self._settings = settings
        settings.ready_file.unlink(missing_ok=True)
        environment = {name: text for name, text in os.environ.items() if not name.startswith(WITHHELD)}
        self._process = subprocess.Popen(
            settings.command(folder),
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, parent=os.getpid()),
        )
        self.started = time.monotonic()
        self.port: int | None = None

    @property
    def exit_code(self) -> int | None:
        """Exit code; None while the service runs."""
        return self._process.poll()

    def health(self) -> dict[str, Any] | None:
        """Return the service's health report; None if it does not answer."""
        self.port = self.port or read_port(self._settings.ready_file)
        host = self._settings.probe_host
        return probe(self.port, read_token(self._settings.token_file), host) if self.port else None

    def stop(self) -> None:
        """Stop the service: SIGTERM, after a grace period SIGKILL."""
        for number, patience_s in ((signal.SIGTERM, STOP_GRACE_S), (signal.SIGKILL, None)):
            if self._process.poll() is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(patience_s)
                except subprocess.TimeoutExpired:
                    log("detector does not end", after_s=STOP_GRACE_S)
        self._settings.ready_file.unlink(missing_ok=True)


def probe(port: int, token: str, host: str = "127.0.0.1") -> dict[str, Any] | None:
    """Query `/healthz` and return its JSON; None if no valid answer comes."""
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz", headers={"Authorization": f"Bearer {token}"})
        answer = json.loads(connection.getresponse().read())
        return answer if isinstance(answer, dict) and "release" in answer else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def restart_delay_s(exits: Sequence[float], now: float) -> float:
    """Return the delay before the next start, in seconds.

    No delay after one exit, then doubling with each exit in the last minute.

    Args:
        exits: times at which the service ended, monotonic seconds.
        now: the time, on the same clock.
    """
    recent = sum(now - each < CRASH_WINDOW_S for each in exits)
    return 0.0 if recent < 2 else min(0.5 * 2 ** (recent - 2), MAX_RESTART_DELAY_S)


def read_port(ready_file: Path) -> int | None:
    """Return the port in a ready file; None while the file does not exist."""
    try:
        return int(ready_file.read_text())
    except (OSError, ValueError):
        return None


def read_token(path: Path) -> str:
    """Return the token in a file, created on the first call; only its owner can read it."""
    if not path.is_file():
        write_durably(path, f"{secrets.token_urlsafe(32)}\n".encode(), mode=0o600)
    return path.read_text().strip()
