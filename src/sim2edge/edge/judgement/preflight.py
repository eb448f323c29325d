"""Try a release in the idle slot before the running one stops: its self-test and its budgets, in a process of its own.

    result = check(folder, rate_hz=10)
    result.outcome, result.reason, result.figures

    python -m sim2edge.edge.judgement.preflight /data/slots/b --rate 10
    {"outcome": "passed", "reason": "", "cpu_ms_p95": 0.71, "memory_mb": 88.1, ...}

Exit codes: 0 passed; 3 refused, by the release's own fault; 2 undecided, because of the surroundings: memory, disk, a
kill from outside, a throttled processor; 4 unfit for this device's frame rate. Processor time is judged, not elapsed
time, so a busy machine condemns nothing, and a fault counts only if a second run finds one, too.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import psutil

from sim2edge.edge.bundle import RELEASE_FILE, Release, parse_release
from sim2edge.edge.detector.runtime import OUT_OF_MEMORY, RUNTIME_MEMORY_MB
from sim2edge.edge.judgement.preflight_run import CPU_S, judge_shortage
from sim2edge.edge.judgement.processor_clock import clock_share, median
from sim2edge.edge.judgement.verdict import OUTSIDE
from sim2edge.edge.supervision.child_environment import child_environment
from sim2edge.errors import BadInput
from sim2edge.lines import MAX_LINE

TIMEOUT_S = 300.0
"""Elapsed time that a run may take; on a busy machine it gets little of it."""
POLL_S = 0.02
CLOCK_LOOK_S = 0.2
"""Seconds between two looks at the speed of the processors."""
FRAME_SHARE = 0.8
"""Share of its threads' time that a detector may need at the device's frame rate."""
MAX_ANSWER_BYTES = 1 << 16


class Preflight(Enum):
    """The outcome of a pre-flight."""

    PASSED = "passed"
    REFUSED = "refused"
    """By the release's own fault."""
    UNDECIDED = "undecided"
    """Because of the surroundings: to be tried again."""
    UNFIT = "unfit"
    """Because of this device's settings: good elsewhere, or at a lower frame rate."""


EXIT_CODES = {Preflight.PASSED: 0, Preflight.REFUSED: 3, Preflight.UNDECIDED: 2, Preflight.UNFIT: 4}


@dataclass(frozen=True)
class Result:
    """The outcome, the reason for it in one line, and what was measured."""

    outcome: Preflight
    reason: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    """cpu_ms_p95 and memory_mb (peak, resident) of the detector; cpu_s and wall_s of the pre-flight."""


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int | None
    """Exit code, negative: the signal; None: it was ended because it took too long."""
    answer: Mapping[str, Any]
    """What it printed; empty: nothing."""
    last_words: str
    """The last line that it wrote to standard error."""
    peak_mb: float
    """Resident memory, as seen from outside."""
    wall_s: float
    clock_share: float = 1.0
    """Speed of the processors meanwhile, as a share of their full one."""
    base_mb: float = 0.0
    """Resident memory before the model was loaded; 0: it did not get that far."""


def check(folder: Path, rate_hz: float, threads: int = 1, timeout_s: float = TIMEOUT_S) -> Result:
    """Run the self-test of the release in `folder`, and compare what it takes with its budgets and this device.

    Args:
        folder: the unpacked bundle.
        rate_hz: frames a second that this device takes from its camera.
        threads: of the runtime.
        timeout_s: elapsed time allowed to each of at most two runs.
    """
    first = check_once(folder, rate_hz, threads, timeout_s)
    if first.outcome is not Preflight.REFUSED:
        return first
    second = check_once(folder, rate_hz, threads, timeout_s)
    if second.outcome is Preflight.PASSED:
        return Result(Preflight.UNDECIDED, f"failed once, then passed: {first.reason}", second.figures)
    return second


def check_once(folder: Path, rate_hz: float, threads: int = 1, timeout_s: float = TIMEOUT_S) -> Result:
    """Run the self-test once; see `check`."""
    try:
        release = parse_release((folder / RELEASE_FILE).read_bytes())
    except BadInput as error:
        return Result(Preflight.REFUSED, str(error))
    except OSError as error:
        return Result(Preflight.UNDECIDED, str(error))
    try:
        ended = run(folder, release, threads, timeout_s)
    except OSError as error:  # no process, no memory
        return Result(Preflight.UNDECIDED, f"cannot start: {error}")
    names = ("cpu_ms_p95", "memory_mb", "cpu_s", "detections")
    figures = {name: ended.answer[name] for name in names if name in ended.answer} | {"wall_s": round(ended.wall_s, 2)}
    if hindrance := find_hindrance(ended, release, timeout_s):
        return Result(Preflight.UNDECIDED, hindrance, figures)
    if fault := find_fault(ended, release):
        return Result(Preflight.REFUSED, fault, figures)
    outcome, reason = judge_speed(ended, release.cpu_ms_p95, rate_hz, threads)
    return Result(outcome, reason, figures)


def memory_limit_mb(release: Release, base_mb: float) -> float:
    """Return the memory that the detector may use here: what the release declares, for a usual machine, and its excess.

    Larger memory pages, or other builds of the libraries, are no fault of the release.

    Args:
        release: what declares.
        base_mb: memory of the process before the model was loaded.
    """
    return release.memory_mb + max(0.0, base_mb - RUNTIME_MEMORY_MB.get(release.runtime, base_mb))


def run(folder: Path, release: Release, threads: int, timeout_s: float) -> Ended:
    """Run the self-test in a child, which is ended when it uses more memory than the release may.

    Raises:
        OSError: there is no process or memory for it.
    """
    command = [sys.executable, "-m", "sim2edge.edge.judgement.preflight_run", str(folder), "--threads", str(threads)]
    with open_memory("answer") as answer, open_memory("words") as words:
        start = time.monotonic()
        child = subprocess.Popen(
            [*command, "--parent", str(os.getpid())],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=words,
            start_new_session=True,
        )

        def limit_mb() -> float:
            """Return what it may use: anything, until the release is touched."""
            base_mb = parse_answer(os.pread(answer.fileno(), MAX_ANSWER_BYTES, 0)).get("base_mb")
            return float("inf") if base_mb is None else memory_limit_mb(release, float(base_mb))

        try:
            code, peak, share = watch(child, limit_mb, start + timeout_s)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
        words.seek(0)
        said = words.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in said if line.strip()]
        last_words = lines[-1][:MAX_LINE] if lines else ""
        found = parse_answer(os.pread(answer.fileno(), MAX_ANSWER_BYTES, 0))
        base_mb = float(found.pop("base_mb", 0.0))
        return Ended(code, found, last_words, peak, time.monotonic() - start, share, base_mb)


def open_memory(name: str) -> Any:
    """Return a file in memory: a full disk hinders no pre-flight.

    Raises:
        OSError: there is none left.
    """
    return os.fdopen(os.memfd_create(name), "w+b")


def watch(
    child: "subprocess.Popen[bytes]", limit_mb: Callable[[], float], deadline: float
) -> tuple[int | None, float, float]:
    """Wait until the child ends, uses more memory than `limit_mb` allows, or the deadline (monotonic) passes.

    Returns:
        Its exit code, None after the deadline; its peak of resident memory, MiB; the middle share of the speed of the
        processors.
    """
    peak, shares, looked = 0.0, list[float](), 0.0
    while child.poll() is None:
        if time.monotonic() - looked > CLOCK_LOOK_S:
            shares.append(clock_share())
            looked = time.monotonic()
        peak = max(peak, resident_mb(child.pid))
        if peak > limit_mb():
            child.kill()
            return child.wait(), peak, median(shares)
        if time.monotonic() > deadline:
            child.kill()
            child.wait()
            return None, peak, median(shares)
        time.sleep(POLL_S)
    return child.returncode, peak, median(shares)


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process, MiB; 0 if it has ended."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / 2**20
    except psutil.Error:
        return 0.0


def parse_answer(text: bytes) -> dict[str, Any]:
    """Return the fields of the objects that a run printed, one in a line; empty if it did not get that far."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        with suppress(ValueError):
            content = json.loads(line)
            found |= content if isinstance(content, dict) else {}
    return found


def find_hindrance(ended: Ended, release: Release, timeout_s: float) -> str:
    """Return what of the surroundings kept the release from being tested; empty: nothing."""
    if ended.peak_mb > memory_limit_mb(release, ended.base_mb):
        return ""
    if ended.code is None:
        return f"the self-test did not end in {timeout_s:.0f} s: the machine is busy, or something waits"
    if -ended.code in OUTSIDE:
        return f"the self-test was ended from outside, by {signal.Signals(-ended.code).name}"
    if not ended.answer and ended.code > 0:  # before the release was touched: Python itself cannot go on
        return f"the self-test cannot run here: {ended.last_words}"
    if not ended.answer and any(words in ended.last_words for words in OUT_OF_MEMORY):
        return str(judge_shortage(release.memory_mb).get("hindrance", ""))
    return str(ended.answer.get("hindrance", ""))


def find_fault(ended: Ended, release: Release) -> str:
    """Return what is wrong with the release itself; empty: nothing."""
    memory_mb = max(ended.peak_mb, ended.answer.get("memory_mb", 0.0))
    if memory_mb > memory_limit_mb(release, ended.base_mb):
        return f"it uses {memory_mb:.0f} MB of memory; it declares {release.memory_mb:.0f}"
    if not ended.answer:
        return describe_end(ended, release)
    return str(ended.answer["fault"])


def judge_speed(ended: Ended, declared_ms: float | None, rate_hz: float, threads: int) -> tuple[Preflight, str]:
    """Return whether a detection takes too long, and in words why.

    Processor time is what the clock of the processor makes of the work: only what would be too much at full speed, too,
    is the release's fault.

    Args:
        ended: a run without a fault; the 95th percentile of its processor time counts.
        declared_ms: what the release declares; None: nothing.
        rate_hz: frames a second of this device.
        threads: of the runtime.
    """
    cpu_ms = float(ended.answer["cpu_ms_p95"])
    available_ms = 1000 / rate_hz * threads * FRAME_SHARE
    taken = f"a detection takes {cpu_ms:.3g} ms of processor time"
    if declared_ms is not None and cpu_ms > declared_ms:
        reason = f"{taken}; it declares {declared_ms:.3g}"
        if cpu_ms * ended.clock_share <= declared_ms:
            slow = f"the processor ran at {100 * ended.clock_share:.0f} % of its speed: heat, weak power, or to save it"
            return Preflight.UNDECIDED, f"{reason}, but {slow}"
        return Preflight.REFUSED, reason
    if cpu_ms > available_ms:
        return Preflight.UNFIT, f"{taken}: at {rate_hz:g} frames a second it may take {available_ms:.3g}"
    return Preflight.PASSED, ""


def describe_end(ended: Ended, release: Release) -> str:
    """Return how a run ended that was ended by a signal."""
    code = -(ended.code or 0)
    if code == signal.SIGXCPU:
        return f"its self-test does not end within {CPU_S} s of processor time"
    if any(words in ended.last_words for words in OUT_OF_MEMORY):
        return str(judge_shortage(release.memory_mb).get("fault", ""))
    name = signal.Signals(code).name if code in set(signal.Signals) else f"signal {code}"
    return f"its model crashes the runtime: {name}{f': {ended.last_words}' if ended.last_words else ''}"


def main(words: Sequence[str] | None = None) -> int:
    """Check a folder, print the result as JSON in one line, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sim2edge.edge.judgement.preflight", description="Try a release without running it."
    )
    parser.add_argument("folder", type=Path, help="the unpacked bundle")
    parser.add_argument("--rate", type=float, default=10.0, help="frames a second of this device (10)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (1)")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help=f"seconds a run may take ({TIMEOUT_S:.0f})")
    arguments = parser.parse_args(words)
    if arguments.rate <= 0 or arguments.threads < 1:
        parser.error("--rate and --threads: have to be above 0")
    result = check(arguments.folder, arguments.rate, arguments.threads, arguments.timeout)
    print(json.dumps({"outcome": result.outcome.value, "reason": result.reason, **result.figures}))
    return EXIT_CODES[result.outcome]


if __name__ == "__main__":
    sys.exit(main())
