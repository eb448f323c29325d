"""Run suites in parallel on the machine's cores, as ci/suites.py decided.

A step starts as soon as its needs are done and enough cores are free: the `first` suites, then the others in the order
of ci/suites.toml. A need runs once, and only if a suite that needs it runs. The failure of a `first` suite ends the
run; other failures do not, and are listed at the end. A failed step may be retried once, and the log has both tries. A
suite that might not end in time is not started, and counts as failed. Each step's output is printed when it ends; until
then it is in build/ci.
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

from suites import Checkout, Decision, Plan, Step, Unusable

GRACE_S = 45
"""Seconds a command gets to clean up after its timeout."""
LOOK_S = 0.1
MINUTE_S = 60
TIMED_OUT = 124
ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""Signals that end the run."""
NARROWING = ("PYTEST_ADDOPTS", "TESTS", "NAMES", "IMAGES", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")
"""Variables of the caller that would restrict a suite, and are removed: its record covers all of it."""


@dataclass
class Running:
    """A running step."""

    step: Step
    process: subprocess.Popen[bytes]
    log: Path
    began: float
    ends: float
    again: bool = False
    """Whether this is its second try."""
    struck: bool = False
    """Whether it timed out and was sent SIGTERM."""


@dataclass
class Runner:
    """One run of some suites."""

    checkout: Checkout
    plan: Plan
    until_minutes: int
    cores: float = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    began: float = field(default_factory=time.monotonic)
    decided: dict[Step, Decision] = field(default_factory=dict)
    """The suites to run."""
    waiting: list[Step] = field(default_factory=list)
    running: list[Running] = field(default_factory=list)
    ended: dict[Step, bool] = field(default_factory=dict)
    """Ended step to whether it passed."""
    results: dict[str, str] = field(default_factory=dict)
    """Label of a step to its result, with its seconds."""
    failed: list[str] = field(default_factory=list)
    unclean: dict[Step, str] = field(default_factory=dict)
    """Steps that started or ended with an uncommitted file, with its path."""
    is_over: bool = False
    """Whether no further step starts: a `first` suite failed, or the run ends."""

    def run(self, decisions: Sequence[Decision]) -> int:
        """Run the decided suites and return the exit code."""
        before = {number: signal.getsignal(number) for number in ENDINGS}
        for number in (signal.SIGTERM, signal.SIGHUP):  # exit by an exception, so that running steps are ended, too
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        for decision in decisions:
            print(f"{'run' if decision.run else 'NOT run'}: {decision.suite.name}: {decision.why}", flush=True)
        self.decided = {decision.suite: decision for decision in decisions if decision.run}
        for suite in sorted(self.decided, key=lambda suite: not suite.first):
            self.waiting += [step for step in (*self.plan.before(suite), suite) if step not in self.waiting]
        try:
            while (self.waiting or self.running) and not self.is_over:
                self._drop()
                while not self.is_over and (step := self._next()):
                    self._begin(step)
                self._look()
        finally:
            self._end_all()
            for number, handler in before.items():
                signal.signal(number, handler)
            code = self._conclude(decisions)
        return code

    def _end_all(self) -> None:
        """Evaluate the steps that have ended by themselves, and end the others in parallel, ignoring signals."""
        self.is_over = True
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)
        for each in [each for each in self.running if each.process.poll() is not None and not each.struck]:
            self.running.remove(each)
            self._judge(each, each.process.returncode)
        end([each.process for each in self.running])
        for each in self.running:
            self._show(each, "ended with the run")

    def _drop(self) -> None:
        """Remove steps that can no longer run from the queue: out of time, a need failed, or no longer needed."""
        for suite in [step for step in self.waiting if step in self.decided]:
            failed = [need.name for need in self.plan.before(suite) if self.ended.get(need) is False]
            if failed:
                self.waiting.remove(suite)
                self._fail(suite, f"not run: {failed[0]} failed")
            elif self._minutes() + suite.minutes > self.until_minutes:
                self.waiting.remove(suite)
                self._fail(suite, "NOT RUN, for time")
        needed = {need for suite in self.waiting if suite in self.decided for need in self.plan.before(suite)}
        self.waiting = [step for step in self.waiting if step in self.decided or step in needed]

    def _next(self) -> Step | None:
        """Return the first step that may start now; until every `first` suite has started, no other suite may."""
        free = self.cores - sum(self._cores(each.step) for each in self.running)
        in_front = any(step.first for step in self.waiting)
        for step in self.waiting:
            is_ready = all(self.ended.get(need) for need in self.plan.before(step))
            if is_ready and self._cores(step) <= free and (step.first or step.kind == "need" or not in_front):
                return step
            if is_ready and step.first:
                return None  # a later step would take the cores that it waits for
        return None

    def _cores(self, step: Step) -> float:
        return min(step.cores or self.cores, self.cores)

    def _begin(self, step: Step) -> None:
        self.waiting.remove(step)
        self.running.append(self._start(step, min(step.minutes, max(self.until_minutes - self._minutes(), 0.01))))

    def _start(self, step: Step, minutes: float, again: bool = False) -> Running:
        log = self.checkout.root / "build" / "ci" / f"{step.kind}-{step.name}{'.again' if again else ''}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self._say(f"begins{' once more' if again else ''}: {step.label}, into {log.relative_to(self.checkout.root)}")
        self._note_files(step)
        now = time.monotonic()
        process = start(step.command, self._environment(step), self.checkout.root, log)
        return Running(step, process, log, now, now + minutes * MINUTE_S, again)

    def _note_files(self, step: Step) -> None:
        """Record an uncommitted file of the step, if there is one now."""
        if path := self.checkout.uncommitted(self.plan, step):
            self.unclean.setdefault(step, path)

    def _look(self) -> None:
        """Wait until a step has ended, by itself or by its timeout, and evaluate it."""
        while self.running:
            for each in self.running:
                code = each.process.poll()
                if code is not None and not (each.struck and _is_group(each.process.pid)):
                    self.running.remove(each)
                    self._judge(each, TIMED_OUT if each.struck else code)
                    return
                if time.monotonic() > each.ends:  # SIGTERM, later SIGKILL; meanwhile the loop polls the other steps
                    send(each.process, signal.SIGKILL if each.struck else signal.SIGTERM)
                    each.struck, each.ends = True, time.monotonic() + GRACE_S
            time.sleep(LOOK_S)

    def _judge(self, ended: Running, code: int) -> None:
        step, seconds = ended.step, round(time.monotonic() - ended.began)
        self._note_files(step)
        how = "timed out" if ended.struck else f"exit code {code}"
        if step.kind == "suite":
            send(ended.process, signal.SIGKILL)  # processes it left running would disturb the next
        elif code == 0 and (missing := self._find_missing(step)):
            code, how = 1, missing
        self._show(ended, how if code else "passed")
        may_again = step.retry and not ended.again and not self.is_over
        if code and may_again and self._minutes() + step.minutes <= self.until_minutes:
            again = self._start(step, step.minutes, again=True)
            again.began = ended.began
            self.running.append(again)
            return
        self.ended[step] = code == 0
        if step not in self.decided:
            self.results[step.label] = f"{'FAILED' if code else 'done'}, {seconds} s"
        elif code:
            self.checkout.forget(step)
            self._fail(step, f"FAILED ({how}), {seconds} s")
        else:
            unrecorded = self._record(step, seconds)
            tries = "passed on the second try" if ended.again else "passed"
            self.results[step.name] = f"{tries}, {seconds} s" + (f"; not recorded: {unrecorded}" if unrecorded else "")

    def _find_missing(self, need: Step) -> str:
        """Return the first of a step's exported files that cannot be read, with the error; "" if all can."""
        for path in need.exports:
            try:
                read_variables((self.checkout.root / path).read_text())
            except (OSError, ValueError) as error:
                return f"{path}: {error}"
        return ""

    def _record(self, suite: Step, seconds: int) -> str:
        """Record that a suite passed; return the reason if it cannot be recorded, else ""."""
        for step in (*self.plan.before(suite), suite):
            if step in self.unclean:
                return f"not committed: {self.unclean[step]}"
        try:
            return self.checkout.record(self.plan, self.decided[suite], seconds)
        except Unusable as error:
            return str(error)

    def _fail(self, suite: Step, how: str) -> None:
        self.failed.append(suite.name)
        self.results[suite.name] = how
        self.is_over |= suite.first

    def _environment(self, step: Step) -> dict[str, str]:
        """Return this process's variables without `NARROWING`, and those exported by the step's needs."""
        found = {name: value for name, value in os.environ.items() if name not in NARROWING}
        found["CACHE"] = f".pytest_cache/{step.name}"  # one per step: pytest writes the failed tests there
        for need in self.plan.before(step):
            for path in need.exports:
                found |= read_variables((self.checkout.root / path).read_text())
        return found

    def _show(self, ended: Running, how: str) -> None:
        self._say(f"{ended.step.label}: {how}; its output:")
        with contextlib.suppress(FileNotFoundError):  # a suite may remove `build`
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
    """Start a shell command in a process group of its own, with output to `log`; it stops at the first error."""
    with log.open("wb") as file:
        return subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a command's process group, if it still exists."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End commands with their process groups, in parallel: SIGTERM, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            send(process, number)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            if not any(process.poll() is None or _is_group(process.pid) for process in processes):
                return
            time.sleep(0.05)


def _is_group(number: int) -> bool:
    """Return whether a process group still has a member."""
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True
