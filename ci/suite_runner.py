"""Runs suites, side by side as far as the machine's cores go: what ci/suites.py does once it has decided.

A step begins as soon as what it needs is done and enough cores are left, in the order of ci/suites.toml. A step that
suites need is done once, and only if one of them runs. The failure of a `first` suite ends the run; of the others each
gets its turn, and what failed is said at the end. Failed tests run once more by themselves, and the log has both. A
suite that might not end in time is not begun, and named. Each step's output is shown when it ends, and until then is
in build/ci.
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
LOOK_S = 0.1
MINUTE_S = 60
TIMED_OUT = 124
AGAIN = {"PYTEST_ADDOPTS": "--last-failed"}
NARROWING = ("PYTEST_ADDOPTS", "TESTS", "NAMES", "IMAGES", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")
"""Variables of the caller that would have less run than the suite's record says."""


@dataclass
class Running:
    """A step that runs."""

    step: Step
    process: subprocess.Popen[bytes]
    log: Path
    began: float
    ends: float
    again: bool = False
    """Its failed tests run once more."""


@dataclass
class Runner:
    """One run of some suites."""

    checkout: Checkout
    plan: Plan
    until_minutes: int
    cores: float = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    began: float = field(default_factory=time.monotonic)
    decided: dict[Step, Decision] = field(default_factory=dict)
    """The suites that are to run."""
    waiting: list[Step] = field(default_factory=list)
    running: list[Running] = field(default_factory=list)
    ended: dict[Step, bool] = field(default_factory=dict)
    """Whether each step that has ended passed."""
    results: dict[str, str] = field(default_factory=dict)
    """How each step ended, with its seconds."""
    failed: list[str] = field(default_factory=list)
    is_over: bool = False
    """A `first` suite failed."""

    def run(self, decisions: Sequence[Decision]) -> int:
        """Run what is decided; the exit code."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what runs is ended, too
        for decision in decisions:
            print(f"{'run' if decision.run else 'NOT run'}: {decision.suite.name}: {decision.why}", flush=True)
        self.decided = {decision.suite: decision for decision in decisions if decision.run}
        for suite in self.decided:
            self.waiting += [step for step in (*self.plan.before(suite), suite) if step not in self.waiting]
        try:
            while (self.waiting or self.running) and not self.is_over:
                self._drop()
                while step := self._next():
                    self._begin(step)
                self._look()
        finally:
            for each in self.running:
                end(each.process)
                self._show(each, "ended with the run")
        return self._conclude(decisions)

    def _drop(self) -> None:
        """Take out of the queue what cannot run any more: for time, for a failed need, for being needed by none."""
        for suite in [step for step in self.waiting if step in self.decided]:
            failed = [need.name for need in self.plan.before(suite) if self.ended.get(need) is False]
            if failed:
                self.waiting.remove(suite)
                self._fail(suite, f"not run: {failed[0]} failed")
            elif self._minutes() + suite.minutes > self.until_minutes:
                self.waiting.remove(suite)
                self.results[suite.name] = "NOT RUN, for time"
        needed = {need for suite in self.waiting if suite in self.decided for need in self.plan.before(suite)}
        self.waiting = [step for step in self.waiting if step in self.decided or step in needed]

    def _next(self) -> Step | None:
        """The first step that may begin now; before the last `first` suite has begun, no other suite does."""
        free = self.cores - sum(self._cores(each.step) for each in self.running)
        in_front = any(step.first for step in self.waiting)
        for step in self.waiting:
            is_ready = all(self.ended.get(need) for need in self.plan.before(step))
            if is_ready and self._cores(step) <= free and (step.first or step.kind == "need" or not in_front):
                return step
            if is_ready and step.first:
                return None  # what is behind it would take the cores that it waits for
        return None

    def _cores(self, step: Step) -> float:
        return min(step.cores or self.cores, self.cores)

    def _begin(self, step: Step) -> None:
        self.waiting.remove(step)
        minutes = min(step.minutes, max(self.until_minutes - self._minutes(), 0.01))
        self.running.append(self._start(step, minutes, {}))

    def _start(self, step: Step, minutes: float, more: Mapping[str, str]) -> Running:
        log = self.checkout.root / "build" / "ci" / f"{step.kind}-{step.name}{'-again' if more else ''}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        what = f"what failed in {step.label} once more" if more else step.label
        self._say(f"begins: {what}, into {log.relative_to(self.checkout.root)}")
        now = time.monotonic()
        process = start(step.command, {**self._environment(step), **more}, self.checkout.root, log)
        return Running(step, process, log, now, now + minutes * MINUTE_S, bool(more))

    def _look(self) -> None:
        """Wait until a step has ended, by itself or by its limit; judge it."""
        while self.running:
            for each in self.running:
                struck = time.monotonic() > each.ends
                if struck:
                    end(each.process)
                if (code := each.process.poll()) is not None or struck:
                    self.running.remove(each)
                    self._judge(each, TIMED_OUT if struck else code or 0)
                    return
            time.sleep(LOOK_S)

    def _judge(self, ended: Running, code: int) -> None:
        step, seconds = ended.step, round(time.monotonic() - ended.began)
        self._show(ended, "passed" if not code else "its limit struck" if code == TIMED_OUT else f"exit code {code}")
        if code and step.retry and not ended.again and self._minutes() + RETRY_MINUTES <= self.until_minutes:
            again = self._start(step, RETRY_MINUTES, AGAIN)
            again.began = ended.began
            self.running.append(again)
            return
        self.ended[step] = code == 0
        if step not in self.decided:
            self.results[step.label] = f"{'FAILED' if code else 'done'}, {seconds} s"
        elif code:
            how = "its limit struck" if code == TIMED_OUT else f"exit code {code}"
            self._fail(step, f"FAILED ({how}), {seconds} s")
        else:
            unrecorded = self.checkout.record(self.plan, self.decided[step], seconds)
            tries = "passed on the second try" if ended.again else "passed"
            self.results[step.name] = f"{tries}, {seconds} s" + (f"; not recorded: {unrecorded}" if unrecorded else "")

    def _fail(self, suite: Step, how: str) -> None:
        self.failed.append(suite.name)
        self.results[suite.name] = how
        self.is_over |= suite.first

    def _environment(self, step: Step) -> dict[str, str]:
        """This process's variables, but for those that narrow; and those that what it needs has exported."""
        found = {name: value for name, value in os.environ.items() if name not in NARROWING}
        found["CACHE"] = f".pytest_cache/{step.name}"  # what failed is written there by each for itself
        for need in self.plan.before(step):
            for path in need.exports:
                found |= read_variables((self.checkout.root / path).read_text())
        return found

    def _show(self, ended: Running, how: str) -> None:
        self._say(f"{ended.step.label}: {how}; its output:")
        print(ended.log.read_text(errors="replace"), flush=True)

    def _minutes(self) -> float:
        return (time.monotonic() - self.began) / 60

    def _say(self, what: str) -> None:
        print(f"\n== {what} ({time.strftime('%H:%M:%S')}, minute {self._minutes():.0f})", flush=True)

    def _conclude(self, decisions: Sequence[Decision]) -> int:
        self._say("done")
        for suite in self.decided:
            self.results.setdefault(suite.name, "NOT RUN to its end, after a failure")
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


def start(command: str, environment: Mapping[str, str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a shell command as the leader of a process group, its output in a file."""
    with log.open("wb") as file:
        return subprocess.Popen(
            ["bash", "-c", command],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


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
