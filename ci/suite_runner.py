"""Runs suites in their order, each within its limit: what ci/suites.py does once it has decided.

A step that suites need is done once, before the first of them, and only if one of them runs. After a failure of a
`first` suite nothing more is begun; of the others each gets its turn, and what failed is said at the end. Failed tests
run once more by themselves, and the log has both. A suite that might not end in time is not begun, and named.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from suites import Checkout, Decision, Plan, Step

RETRY_MINUTES = 10
GRACE_S = 45
"""What a command gets to clean up after itself when its limit strikes."""
TIMED_OUT = 124
AGAIN = {"PYTEST_ADDOPTS": "--last-failed"}
NARROWING = ("PYTEST_ADDOPTS", "IMAGES", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")
"""Variables of the caller that would have less run than the suite's record says."""


@dataclass
class Running:
    """A suite in the background."""

    decision: Decision
    process: subprocess.Popen[bytes]
    log: Path
    began: float


@dataclass
class Runner:
    """One run of some suites."""

    checkout: Checkout
    plan: Plan
    until_minutes: int
    began: float = field(default_factory=time.monotonic)
    done: dict[str, bool] = field(default_factory=dict)
    """Whether each needed step that was tried has passed."""
    results: dict[str, str] = field(default_factory=dict)
    """How each suite ended, with its seconds."""
    failed: list[str] = field(default_factory=list)
    background: Running | None = None

    def run(self, decisions: Sequence[Decision]) -> int:
        """Run what is decided; the exit code."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what runs is ended, too
        for decision in decisions:
            print(f"{'run' if decision.run else 'NOT run'}: {decision.suite.name}: {decision.why}", flush=True)
        try:
            for decision in [decision for decision in decisions if decision.run]:
                self._take(decision)
                if decision.suite.first and decision.suite.name in self.failed:
                    break
            self._join()
        finally:
            if self.background:
                end(self.background.process)
        return self._conclude(decisions)

    def _take(self, decision: Decision) -> None:
        suite = decision.suite
        if self.background and suite.name not in self.background.decision.suite.beside:
            self._join()
        for need in self.plan.before(suite):
            if self._has_time(suite) and not self._provide(need):
                self._fail(suite, f"not run: {need.name} failed")
                return
        if not self._has_time(suite):
            self.results[suite.name] = "NOT RUN, for time"
        elif suite.beside:
            self._begin(decision)
        else:
            self._say(suite.name)
            began = time.monotonic()
            self._judge(decision, self._execute(suite, suite.minutes, self._environment(suite)), began)

    def _judge(self, decision: Decision, code: int, began: float) -> None:
        suite, tries = decision.suite, "passed"
        if code and suite.retry and self._minutes() + RETRY_MINUTES <= self.until_minutes:
            tries = "passed on the second try"
            self._say(f"{suite.name}: what failed, once more")
            code = self._execute(suite, RETRY_MINUTES, self._environment(suite) | AGAIN)
        seconds = round(time.monotonic() - began)
        if code:
            how = "its limit struck" if code == TIMED_OUT else f"exit code {code}"
            self._fail(suite, f"FAILED ({how}), {seconds} s")
            return
        unrecorded = self.checkout.record(self.plan, decision, seconds)
        self.results[suite.name] = f"{tries}, {seconds} s" + (f"; not recorded: {unrecorded}" if unrecorded else "")

    def _fail(self, suite: Step, how: str) -> None:
        self.failed.append(suite.name)
        self.results[suite.name] = how

    def _begin(self, decision: Decision) -> None:
        log = self.checkout.root / "build" / "ci" / f"{decision.suite.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self._say(f"{decision.suite.name} begins, in the background")
        process = start(decision.suite.command, self._environment(decision.suite), self.checkout.root, log)
        self.background = Running(decision, process, log, time.monotonic())

    def _join(self) -> None:
        """Wait for the suite in the background, and show its log."""
        if not (running := self.background):
            return
        limit = running.began + running.decision.suite.minutes * 60
        code = wait(running.process, max(1.0, limit - time.monotonic()))
        self.background = None
        self._say(f"{running.decision.suite.name}, from the background")
        print(running.log.read_text(errors="replace"), flush=True)
        self._judge(running.decision, code, running.began)

    def _provide(self, need: Step) -> bool:
        if need.name not in self.done:
            self._say(f"needed: {need.name}")
            began = time.monotonic()
            left = self.until_minutes - self._minutes()
            code = self._execute(need, min(need.minutes, left), self._environment(need))
            self.done[need.name] = code == 0
            self.results[f"({need.name})"] = f"{'done' if code == 0 else 'FAILED'}, {round(time.monotonic() - began)} s"
        return self.done[need.name]

    def _environment(self, step: Step) -> dict[str, str]:
        """This process's variables, but for those that narrow; and those that what it needs has exported."""
        found = {name: value for name, value in os.environ.items() if name not in NARROWING}
        for need in self.plan.before(step):
            for path in need.exports:
                found |= read_variables((self.checkout.root / path).read_text())
        return found

    def _execute(self, step: Step, minutes: float, environment: Mapping[str, str]) -> int:
        return execute(step.command, minutes * 60, environment, self.checkout.root)

    def _has_time(self, suite: Step) -> bool:
        return self._minutes() + suite.minutes <= self.until_minutes

    def _minutes(self) -> float:
        return (time.monotonic() - self.began) / 60

    def _say(self, what: str) -> None:
        print(f"\n== {what} ({time.strftime('%H:%M:%S')}, minute {self._minutes():.0f})", flush=True)

    def _conclude(self, decisions: Sequence[Decision]) -> int:
        self._say("done")
        for decision in decisions:
            if decision.run:
                self.results.setdefault(decision.suite.name, "NOT RUN, after a failure")
        for name, result in self.results.items():
            print(f"{name:16} {result}", flush=True)
        for decision in decisions:
            if not decision.run:
                print(f"{decision.suite.name:16} not run: {decision.why}", flush=True)
        for name in self.failed:
            print(f"FAILED: {name}", flush=True)
        return 1 if self.failed else 0


def read_variables(text: str) -> dict[str, str]:
    """Parse lines of NAME=value; comments and empty lines are skipped."""
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def start(
    command: str, environment: Mapping[str, str], folder: Path, log: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a shell command as the leader of a process group, its output here or in a file."""
    with (log or Path(os.devnull)).open("wb") as file:
        return subprocess.Popen(
            ["bash", "-c", command],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file if log else None,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
        )


def wait(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Wait for a command for so long; its exit code, or 124 after its group was ended."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        end(process)
        return TIMED_OUT
    except BaseException:
        end(process)
        raise


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command with its process group: asked first, then forced."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            if process.poll() is not None and not _is_group(process.pid):
                return
            time.sleep(0.05)


def _is_group(number: int) -> bool:
    """Whether a process group has a member left."""
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def execute(command: str, seconds: float, environment: Mapping[str, str], folder: Path) -> int:
    """Run a shell command for at most so long; its exit code, or 124."""
    return wait(start(command, environment, folder), seconds)
