"""Start services in order, watch them, restart those that crash, and stop everything.

Runs in the process that `guardian.py` forks; one thread, one loop, all decisions in `lifecycle.py`.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence

import psutil

from sim2edge.private_files import make_private_folder
from sim2edge.processes import end, end_descendants, reap_orphans, spawn
from sim2edge.stack.lifecycle import CRASH_WINDOW_S, RUNNING, SATISFIED, Facts, Phase, next_phase
from sim2edge.stack.services import Service
from sim2edge.stack.settings import StackSettings
from sim2edge.stack.state import ProcessId, ServiceState, StackPhase, StackState, write_state

START_TICK_S = 0.1
WATCH_TICK_S = 0.5
PROBE_EVERY_S = 5.0
STOP_GRACE_S = 5.0
LOG_TAIL_LINES = 8
EXIT_NOT_STARTED = 127


class Watched:
    """A service with its process."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.state = ServiceState(name=service.name, port=service.port, url=service.url, log=service.log)
        self.process: subprocess.Popen[bytes] | None = None
        self.since = time.monotonic()
        self.probed = 0.0
        self.was_healthy = False
        self.not_started = ""
        self.crashes: deque[float] = deque()

    def step(self, needs_met: bool) -> bool:
        """Check the service once and act; return whether anything changed."""
        before = self.state.phase
        phase = next_phase(self._facts(needs_met))
        if phase is before:
            return False
        self.state.phase, self.since = phase, time.monotonic()
        if phase is Phase.STARTING:
            self._start()
        elif phase is Phase.HEALTHY:
            self.was_healthy, self.state.detail = True, ""
        elif phase in (Phase.FAILED, Phase.RESTARTING):
            self._note_end(phase)
        return True

    def _facts(self, needs_met: bool) -> Facts:
        exit_code = self.process.poll() if self.process else EXIT_NOT_STARTED
        if exit_code is not None and self.state.phase in RUNNING:
            self.crashes.append(time.monotonic())
        while self.crashes and self.crashes[0] < time.monotonic() - CRASH_WINDOW_S:
            self.crashes.popleft()
        return Facts(
            phase=self.state.phase,
            needs_met=needs_met,
            exit_code=exit_code if self.state.phase in RUNNING else None,
            healthy=self._probe() if exit_code is None else None,
            phase_age_s=time.monotonic() - self.since,
            deadline_s=self.service.deadline_s,
            is_task=self.service.healthy is None,
            was_healthy=self.was_healthy,
            crashes=len(self.crashes),
        )

    def _probe(self) -> bool | None:
        # A check costs the starting service CPU time: the longer the start takes, the rarer the checks.
        due = (time.monotonic() - self.since) / 10 if self.state.phase is Phase.STARTING else PROBE_EVERY_S
        if self.service.healthy is None or self.state.phase not in RUNNING or time.monotonic() - self.probed < due:
            return None
        healthy = self.service.healthy(self.state.started or 0.0)
        self.probed = time.monotonic()
        return healthy

    def _start(self) -> None:
        service, self.process, self.state.process = self.service, None, None
        self.state.started = time.time()
        try:
            make_private_folder(service.folder)
            if service.prepare:
                service.prepare()
            self.process = spawn(service.command, service.environment, service.folder, service.log, signal.SIGTERM)
        except OSError as error:  # no space or no memory: treated as a crash, so retried
            self.not_started = str(error)
        else:
            self.state.process = ProcessId.of(self.process.pid)

    def _note_end(self, phase: Phase) -> None:
        why = self._describe_end()
        if phase is Phase.RESTARTING:
            self.state.restarts += 1
            self.state.detail = f"{why}, restarted"
        else:
            self.state.detail = f"{why}; {self.service.log} ends with:\n{_tail(self.service)}"
            self.signal_stop()

    def _describe_end(self) -> str:
        if self.process is None:
            return f"could not be started: {self.not_started}"
        code = self.process.poll()
        return f"no answer within {self.service.deadline_s:.0f} s" if code is None else _describe_exit(code)

    def running(self) -> psutil.Process | None:
        """Return its process, unless it has ended."""
        return psutil.Process(self.process.pid) if self.process and self.process.poll() is None else None

    def signal_stop(self) -> None:
        """Send SIGTERM to its process."""
        if process := self.running():
            process.terminate()


def _describe_exit(code: int) -> str:
    return f"ended with code {code}" if code >= 0 else f"was ended by signal {-code} ({signal.Signals(-code).name})"


def _tail(service: Service) -> str:
    try:
        lines = service.log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "(nothing)"
    return "\n".join(lines[-LOG_TAIL_LINES:])


class Supervisor:
    """The loop over all services. `attached`: stop when standard input closes, as it does when the caller ends."""

    def __init__(self, settings: StackSettings, services: Sequence[Service], attached: bool) -> None:
        self.watched = [Watched(service) for service in services]
        self.state = StackState(settings=settings, services=[each.state for each in self.watched])
        self.state.supervisor = ProcessId.of(os.getpid())
        self.attached = attached
        self.stopping = False
        self.reaped = 0.0
        self.unwritten = True

    def run(self) -> None:
        """Start everything, watch until stopped (SIGTERM, or standard input closed), stop everything."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._ask_to_stop())
        try:
            while not self.stopping and self.state.phase is not StackPhase.FAILED:
                self._turn()
                self._sleep(WATCH_TICK_S if self.state.phase is StackPhase.READY else START_TICK_S)
        finally:
            self._stop()

    def _turn(self) -> None:
        changed = [each.step(self._needs_met(each)) for each in self.watched]
        if time.monotonic() - self.reaped > PROBE_EVERY_S:
            self.reaped = time.monotonic()
            reap_orphans({each.process.pid for each in self.watched if each.process})
        if any(changed):
            self._judge()
            self.unwritten = True
        self._write_state()

    def _write_state(self) -> None:
        """Write the state if it changed; after an error, such as a full disk, retry at the next turn."""
        if self.unwritten:
            with contextlib.suppress(OSError):
                write_state(self.state)
                self.unwritten = False

    def _needs_met(self, watched: Watched) -> bool:
        satisfied = {each.service.name for each in self.watched if each.state.phase in SATISFIED}
        return satisfied.issuperset(watched.service.after)

    def _judge(self) -> None:
        """Set the stack ready once all services are; a failure before that fails the start, a later one does not."""
        if self.state.phase is not StackPhase.STARTING:
            return
        failed = next((each.state for each in self.watched if each.state.phase is Phase.FAILED), None)
        if failed:
            self.state.phase, self.state.detail = StackPhase.FAILED, f"{failed.name} {failed.detail}"
        elif all(each.state.phase in SATISFIED for each in self.watched):
            self.state.phase = StackPhase.READY

    def _sleep(self, seconds: float) -> None:
        if not self.attached:
            time.sleep(seconds)
        elif select.select([sys.stdin], [], [], seconds)[0] and not os.read(sys.stdin.fileno(), 1):
            self.stopping = True

    def _ask_to_stop(self) -> None:
        self.stopping = True

    def _stop(self) -> None:
        """Stop in reverse order of the start; kill what does not end in time, and all its descendants."""
        failed = self.state.phase is StackPhase.FAILED
        if not failed:
            self.state.phase, self.unwritten = StackPhase.STOPPING, True
            self._write_state()
        for level in self._levels():
            end([process for each in level if (process := each.running())], STOP_GRACE_S)
        end_descendants(1.0)
        for each in self.watched:
            if each.state.phase is not Phase.FAILED:
                each.state.phase, each.state.detail = Phase.STOPPED, ""
            each.state.process = None
        self.state.phase, self.unwritten = StackPhase.FAILED if failed else StackPhase.STOPPED, True
        self._write_state()

    def _levels(self) -> list[list[Watched]]:
        """Return groups to stop together, in order: services that nothing running depends on come first."""
        left = list(self.watched)
        levels = []
        while left:
            needed = {name for each in left for name in each.service.after}
            level = [each for each in left if each.service.name not in needed]
            levels.append(level)
            left = [each for each in left if each not in level]
        return levels
