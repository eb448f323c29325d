"""Run detector processes: start one beside the one on duty, hand over to it, and never leave one behind.

detector = DetectorProcess(settings, folder, subject, listening)    # loads and checks its model; off duty
detector.poll()                     # takes its answers; never blocks
if detector.ready: detector.go()    # takes camera and port
detector.park()                     # lets go of them, and stays loaded: detector.has_let_go
detector.terminate(); detector.kill(); detector.is_gone()
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sim2edge.edge.detector.control import Report, make_phase, open_line
from sim2edge.edge.detector.service import EXIT_HERE, EXIT_RELEASE
from sim2edge.edge.judgement.starvation import WorkClock
from sim2edge.edge.judgement.trial import Subject
from sim2edge.edge.judgement.verdict import BLAMED, OUTSIDE, Phase
from sim2edge.edge.supervision.child_environment import child_environment
from sim2edge.prctl import die_with_parent

ASK_EVERY_S = 0.5
MAX_POLL_S = 1.0
"""The most that counts of the time between two polls: an agent that was held up cannot call a detector silent."""
PROBE_TIMEOUT_S = 2.0
MEMORY_READINGS = 3
"""Readings in a row that have to say that a detector uses too much memory."""
CRASH_WINDOW_S = 60.0
MAX_RESTART_DELAY_S = 30.0
OOM_SCORE = 500
"""When memory is short the kernel ends a detector before the agent that starts another one (proc(5))."""


@dataclass(frozen=True)
class ServiceSettings:
    """The settings that every detector of this device is started with."""

    home: Path
    source: str | None
    port: int
    rate_hz: float
    threads: int = 1
    host: str = "127.0.0.1"
    metrics_token_file: Path | None = None

    @property
    def token_file(self) -> Path:
        """File with the token that every request needs."""
        return self.home / "token"

    def command(self, folder: Path, descriptors: dict[str, int]) -> Sequence[str]:
        """Return the command line that serves the bundle in `folder`."""
        options = {
            "--bundle": folder,
            "--token-file": self.token_file,
            "--rate": self.rate_hz,
            "--threads": self.threads,
            **({"--source": self.source} if self.source else {}),
            **({"--metrics-token-file": self.metrics_token_file} if self.metrics_token_file else {}),
            **descriptors,
        }
        words = [str(word) for option in options.items() for word in option]
        return [sys.executable, "-m", "sim2edge.edge.detector.service", *words]


@dataclass(frozen=True)
class Ending:
    """How a detector ended."""

    reason: str
    own_fault: bool
    """Whether the release is to blame."""


class DetectorProcess:
    """One start of one release; the process ends with this one, even when this one is killed."""

    def __init__(
        self, settings: ServiceSettings, folder: Path, subject: Subject, listening: socket.socket | None
    ) -> None:
        """Start the process; call this from the main thread.

        The kernel ends the child when the thread that started it ends:
        https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html

        Raises:
            OSError: no process, memory or file can be had now.
        """
        self.subject = subject
        self.started = time.monotonic()
        self.on_duty_since: float | None = None
        self.ready = False
        """Whether it has loaded and checked its release, and answered."""
        self.report: Report = {}
        """Its newest answer since it was last told to go on duty or off; empty before the first one."""
        self._memory: deque[float] = deque(maxlen=MEMORY_READINGS)
        self._loads = False
        self._owes_s = 0.0
        self._busy_s = 0.0
        self._inference: int | None = None
        self._counts_from = 0
        self._asked = float("-inf")
        self._polled = self.started
        self._ending: Ending | None = None
        with ExitStack() as undo:
            self._line, theirs = open_line()
            undo.callback(self._line.close)
            with theirs:
                self._phase, memory = make_phase()
                undo.callback(self._phase.close)
                try:
                    self._process = self._start(settings, folder, theirs.fileno(), memory, listening)
                finally:
                    os.close(memory)
            undo.pop_all()
        self._clock = WorkClock(self._process.pid)

    @staticmethod
    def _start(
        settings: ServiceSettings, folder: Path, line: int, phase: int, listening: socket.socket | None
    ) -> "subprocess.Popen[bytes]":
        descriptors = {"--control-fd": line, "--phase-fd": phase}
        if listening:
            descriptors["--listen-fd"] = listening.fileno()
        return subprocess.Popen(
            settings.command(folder, descriptors),
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=tuple(descriptors.values()),
            preexec_fn=partial(_prepare, parent=os.getpid()),
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def phase(self) -> Phase:
        """What it does, or did when it ended."""
        return self._phase.get()

    @property
    def ending(self) -> Ending | None:
        """How it ended; None while it runs."""
        if self._ending is None and (code := self._process.poll()) is not None:
            self.poll()  # its last words
            self._ending = explain(code, self.phase, self._line.last_words)
        return self._ending

    @property
    def silent_s(self) -> float:
        """How long it owes an answer, or one inference runs, without the time in which it could not work."""
        return max(self._owes_s, self._busy_s)

    @property
    def newest_memory_mb(self) -> float | None:
        """Its resident memory on duty without what the camera takes, MiB; None: not read yet."""
        return self._memory[-1] if self._memory else None

    @property
    def memory_mb(self) -> float | None:
        """The least of MEMORY_READINGS readings of it; None: there are fewer."""
        return min(self._memory) if len(self._memory) == MEMORY_READINGS else None

    @property
    def has_let_go(self) -> bool:
        """Whether it answered that it is off duty, after it was told to."""
        return self.on_duty_since is None and self.report.get("state") == "standby"

    def poll(self, **note: object) -> None:
        """Take the answers that came, and ask again; a stopped or hanging process costs no time.

        Args:
            note: what the detector should know, as it is asked for its health.
        """
        now = time.monotonic()
        passed, self._polled = min(now - self._polled, MAX_POLL_S), now
        answers = self._line.answers()
        for number, report in answers:
            self.ready = True
            if number >= self._counts_from:
                self.report = report
                self._note_memory(report)
        self._measure_silence(passed, [report for _, report in answers])
        if not self._line.waits and now - self._asked >= ASK_EVERY_S:
            self._asked = now
            self._line.ask("health", **note)

    def _note_memory(self, report: Report) -> None:
        if self.on_duty_since is not None and (memory := report.get("memory_mb")) is not None:
            self._memory.append(memory - report.get("camera_memory_mb", 0.0))

    def _measure_silence(self, passed: float, answers: Sequence[Report]) -> None:
        if answers:
            now = answers[-1]
            inference = now.get("inferences_begun") if now.get("inference_under_way") else None
            if inference is None or inference != self._inference:
                self._busy_s = 0.0
            self._inference = inference
        loads = self.phase is Phase.LOAD
        if not self._line.waits or (loads and not self._loads):  # what Python took to start is not the release's
            self._owes_s = 0.0
        self._loads = loads
        if self._line.waits or self._inference is not None:
            worked = self._clock.passed(passed)
            self._owes_s += worked if self._line.waits else 0.0
            self._busy_s += worked if self._inference is not None else 0.0

    def go(self) -> None:
        """Have it take camera and port."""
        self._command("go")
        self.on_duty_since = time.monotonic()

    def park(self) -> None:
        """Have it let go of camera and port, and stay loaded."""
        self._command("park")
        self.on_duty_since = None

    def _command(self, word: str) -> None:
        """Give a command; what was answered before it says nothing any more."""
        self._asked = time.monotonic()
        self._counts_from, self.report = self._line.ask(word), {}
        self._memory.clear()

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it at once; the kernel takes camera and port from it."""
        if self._process.poll() is None:
            self._process.kill()

    def is_gone(self) -> bool:
        """Return whether it has ended; what the agent holds for it is then given back."""
        if self.ending is None:
            return False
        self._line.close()
        self._phase.close()
        return True


def _prepare(parent: int) -> None:
    """Between fork and exec: die with the agent, and before it when memory is short."""
    die_with_parent(parent=parent)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - as little as possible after a fork
            file.write(str(OOM_SCORE))
    except OSError:
        return


def explain(code: int, phase: Phase, last_words: str = "") -> Ending:
    """Return how a detector ended, from its exit code (negative: the signal), its last phase and its own words.

    A signal in a phase of the release is its crash, but for those that come from outside (`verdict.OUTSIDE`); one that
    uses too much memory is noticed before the kernel ends it (`verdict.find_fault`).
    """
    doing = f"in {phase.name.lower()}"
    if code >= 0:
        blamed = code == EXIT_RELEASE or (code not in (0, EXIT_HERE) and phase in BLAMED)
        return Ending(last_words or f"the detector ended with code {code}, {doing}", blamed)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return Ending(f"the detector ended by {name}, {doing}", phase in BLAMED and -code not in OUTSIDE)


def restart_delay_s(exits: Sequence[float], now: float) -> float:
    """Return the delay before the next start, in seconds.

    No delay after one exit, then doubling with each exit in the last minute.

    Args:
        exits: times at which the service ended, monotonic seconds.
        now: the time, on the same clock.
    """
    recent = sum(now - each < CRASH_WINDOW_S for each in exits)
    return 0.0 if recent < 2 else min(0.5 * 2 ** (recent - 2), MAX_RESTART_DELAY_S)


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
