"""Run stages as local processes, without a container engine.

A stage runs under `stage_guard.py`, in a session of its own. The guard holds one end of a pipe whose other end only the
task's process has: when the task ends, however it ends, the guard ends the stage and all its children. A stage
therefore never outlives its task, and a retry starts a new one (from the stage's checkpoints, if it keeps any).
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from sim2edge.errors import BadInput
from sim2edge_airflow.runtimes.runtime import Orphaned, RunStatus, StageJob
from sim2edge_airflow.runtimes.stage_job import CREDENTIALS_VARIABLE, SECRET_VARIABLES

GUARD = Path(__file__).with_name("stage_guard.py")
GRACE_S = 15
"""Longer than the guard waits between SIGTERM and SIGKILL."""
POLL_S = 1.0
LINE_LIMIT = 16 * 1024
"""Maximum length of a line, bytes; a stage's own events are far shorter."""


class ProcessRuntime:
    """Runs stages as processes, see `runtimes.Runtime`. Runs are children of this process, so none can be resumed."""

    name: ClassVar[str] = "process"
    resumable: ClassVar[bool] = False

    def __init__(self) -> None:
        self._runs: dict[str, subprocess.Popen[bytes]] = {}
        self._supervisor = os.getppid()

    def find(self, job: StageJob) -> str | None:  # noqa: ARG002
        """See `Runtime`: a stage ends with its task."""
        return None

    def submit(self, job: StageJob) -> str:
        """See `Runtime`.

        Raises:
            BadInput: `SIM2EDGE_STAGE_PYTHON` does not name an interpreter.
        """
        command = [sys.executable, "-I", str(GUARD), stage_python(), "-m", "sim2edge", *job.arguments]
        guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=stage_environment(os.environ, job),
            bufsize=0,
        )
        self._runs[str(guard.pid)] = guard
        return str(guard.pid)

    def logs(self, run: str) -> Iterator[str]:
        """See `Runtime`.

        Raises:
            Orphaned: the worker of this task was killed; a new try may be running elsewhere.
        """
        guard = self._runs[run]
        stdout = guard.stdout
        assert stdout is not None  # noqa: S101
        lines = LineReader()
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while True:
                if os.getppid() != self._supervisor:
                    raise Orphaned("the worker of this task is gone")
                if not selector.select(POLL_S):
                    if guard.poll() is not None:  # killed, and a process of the stage still holds the pipe
                        return
                    continue
                chunk = os.read(stdout.fileno(), 1 << 16)
                yield from lines.feed(chunk) if chunk else lines.end()
                if not chunk:
                    return

    def status(self, run: str) -> RunStatus | None:
        """See `Runtime`."""
        if run not in self._runs:
            return None
        code = self._runs[run].poll()
        return RunStatus(128 - code if code is not None and code < 0 else code)

    def cancel(self, run: str) -> None:
        """See `Runtime`: closing the pipe makes the guard end the stage."""
        stdin = self._runs[run].stdin
        if stdin and not stdin.closed:
            stdin.close()

    def clean(self, run: str) -> RunStatus | None:
        """See `Runtime`: if the guard itself was killed, kill its session."""
        self.cancel(run)
        guard = self._runs[run]
        try:
            guard.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(guard.pid, signal.SIGKILL)
        if guard.stdout:
            guard.stdout.close()
        return self.status(run)


class LineReader:
    """Splits a stream of bytes into lines of text; bytes of a line beyond `LINE_LIMIT` are dropped and counted."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._dropped = 0

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the lines completed by `chunk`."""
        *finished, rest = chunk.split(b"\n")
        for part in finished:
            self._keep(part)
            yield self._take()
        self._keep(rest)

    def end(self) -> Iterator[str]:
        """Yield the last line if the stream does not end with a newline."""
        if self._line:
            yield self._take()

    def _keep(self, part: bytes) -> None:
        room = max(0, LINE_LIMIT - len(self._line))
        self._line += part[:room]
        self._dropped += max(0, len(part) - room)

    def _take(self) -> str:
        text = printable(self._line.decode(errors="replace"))
        if self._dropped:
            text += f" ... ({self._dropped} bytes more)"
        self._line.clear()
        self._dropped = 0
        return text


def printable(text: str) -> str:
    """Replace control characters, so that a log viewer or terminal shows the text literally."""
    return "".join(
        char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in text.rstrip("\r")
    )


def stage_python() -> str:
    """Return the interpreter of the stages' environment, from `SIM2EDGE_STAGE_PYTHON`.

    Raises:
        BadInput: it is not set, or is not an executable.
    """
    python = os.environ.get("SIM2EDGE_STAGE_PYTHON", "")
    if not os.access(python, os.X_OK):
        raise BadInput(f"SIM2EDGE_STAGE_PYTHON '{python}': name the interpreter of the stages' environment")
    return python


def stage_environment(environment: Mapping[str, str], job: StageJob) -> dict[str, str]:
    """Return a stage's variables: those of its worker, with the stage's own credentials instead of the worker's.

    Airflow's own settings are left out: they contain keys and passwords that no stage needs.
    """
    withheld = {*SECRET_VARIABLES, CREDENTIALS_VARIABLE}
    kept = {
        name: value
        for name, value in environment.items()
        if name not in withheld and not name.startswith(("AIRFLOW_", "_AIRFLOW_"))
    }
    return {**kept, **job.environment, **job.secrets, "PYTHONUNBUFFERED": "1"}
