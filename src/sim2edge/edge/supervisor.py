"""Run detector processes: start one beside the one on duty, hand over to it, and never leave one behind.

    detector = DetectorProcess(settings, folder, subject, listening)    # loads and checks its model; off duty
    detector.poll()                     # takes its answers; never blocks
    if detector.ready: detector.go()    # takes camera and port
    detector.park()                     # lets go of them, and stays loaded
    detector.stop()
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sim2edge.edge.control import Report, make_phase, open_line
from sim2edge.edge.durable import write_durably
from sim2edge.edge.events import log
from sim2edge.edge.service import EXIT_RELEASE
from sim2edge.edge.trial import Subject
from sim2edge.edge.verdict import BLAMED, Phase
from sim2edge.prctl import die_with_parent

ASK_EVERY_S = 0.5
STOP_GRACE_S = 5.0
CRASH_WINDOW_S = 60.0
MAX_RESTART_DELAY_S = 30.0
WITHHELD = ("AWS_", "SIM2EDGE_KEYS", "SIM2EDGE_BUCKET")
"""Environment variables withheld from the detector."""
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
        return [sys.executable, "-m", "sim2edge.edge.service", *words]


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
        self.answered = self.started
        """When it last answered, monotonic seconds."""
        self.report: Report = {}
        """Its last answer; empty before the first one."""
        self._asked = 0.0
        self._line, theirs = open_line()
        self._phase, memory = make_phase()
        descriptors = {"--control-fd": theirs.fileno(), "--phase-fd": memory}
        if listening:
            descriptors["--listen-fd"] = listening.fileno()
        try:
            self._process = subprocess.Popen(
                settings.command(folder, descriptors),
                env={name: text for name, text in os.environ.items() if not name.startswith(WITHHELD)},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=tuple(descriptors.values()),
                preexec_fn=partial(_prepare, parent=os.getpid()),
            )
        except BaseException:
            self._line.close()
            raise
        finally:
            theirs.close()
            os.close(memory)

    @property
    def ready(self) -> bool:
        """Whether it has loaded and checked its release, and answers."""
        return bool(self.report)

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
        code = self._process.poll()
        return None if code is None else explain(code, self.phase)

    def poll(self) -> None:
        """Take the answers that came, and ask again; a stopped or hanging process costs no time."""
        for report in self._line.answers():
            self.report, self.answered = report, time.monotonic()
        if not self._line.waits and time.monotonic() - self._asked >= ASK_EVERY_S:
            self._ask("health")

    def go(self) -> None:
        """Have it take camera and port."""
        self.on_duty_since = time.monotonic()
        self._ask("go")

    def park(self) -> None:
        """Have it let go of camera and port, and stay loaded."""
        self.on_duty_since = None
        self._ask("park")

    def _ask(self, word: str) -> None:
        self._asked = time.monotonic()
        self._line.ask(word)

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Stop it: SIGTERM, after a grace period SIGKILL."""
        for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, None)):
            if self._process.poll() is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(patience_s)
                except subprocess.TimeoutExpired:
                    log("detector does not end", after_s=grace_s)
        self._line.close()


def _prepare(parent: int) -> None:
    """Between fork and exec: die with the agent, and before it when memory is short."""
    die_with_parent(parent=parent)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - as little as possible after a fork
            file.write(str(OOM_SCORE))
    except OSError:
        return


def explain(code: int, phase: Phase) -> Ending:
    """Return how a detector ended, from its exit code (negative: the signal) and its last phase.

    A signal in a phase of the release is its crash, but for SIGKILL, SIGTERM and SIGINT, which come from outside; a
    detector that uses too much memory is noticed before the kernel ends it (`verdict.find_fault`).
    """
    if code >= 0:
        blamed = code == EXIT_RELEASE or (code not in (0, 2) and phase in BLAMED)
        return Ending(f"the detector ended with code {code}, in {phase.name.lower()}", blamed)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    outside = -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    return Ending(f"the detector ended by {name}, in {phase.name.lower()}", phase in BLAMED and not outside)


def restart_delay_s(exits: Sequence[float], now: float) -> float:
    """Return the delay before the next start, in seconds.

    No delay after one exit, then doubling with each exit in the last minute.

    Args:
        exits: times at which the service ended, monotonic seconds.
        now: the time, on the same clock.
    """
    recent = sum(now - each < CRASH_WINDOW_S for each in exits)
    return 0.0 if recent < 2 else min(0.5 * 2 ** (recent - 2), MAX_RESTART_DELAY_S)


def read_token(path: Path) -> str:
    """Return the token in a file, created on the first call; only its owner can read it."""
    if not path.is_file():
        write_durably(path, f"{secrets.token_urlsafe(32)}\n".encode(), mode=0o600)
    return path.read_text().strip()
