"""Measure each stage's overhead outside its own work, as a real process on a tiny batch, against real S3.

Overhead is the wall time of the process, less the stage's own function (`work_s` of its manifest, which includes its
imports), less the time of a process that only starts, imports the same modules and ends. It consists of the lookup, S3
in and out, hashing, manifest and refs. Then the same command again: a cache hit.
"""

import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.results import Result
from benchmarks.timing import take_turns
from benchmarks.workplace import StageRun, Workplace
from sim2edge.stages import get_stage, stage_names

LIMIT_S = 1.0
HITS = 3
CORE = "sim2edge.cli, sim2edge.runner"
IMPORTS = "import {core}, time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"


def measure(place: Workplace) -> Iterator[Result]:
    """Yield two results per stage: overhead against the limit, and a cache hit against the start of Python."""
    for name in stage_names():
        run = place.stage(name)
        imports_s, idle_s = time_imports(place, name)
        yield describe_run(name, run, imports_s, idle_s)
        start_s, hit_s = time_hit(place, name)
        yield Result(f"overhead.{name}_hit", hit_s, "s", "start of Python", start_s, note="the same command again")


def time_imports(place: Workplace, name: str) -> tuple[float, float]:
    """Return the seconds of importing a stage's function, and the other seconds of such a process."""
    module = get_stage(name).entry.partition(":")[0]
    start = time.perf_counter()
    imports_s = float(run_python(place, IMPORTS.format(core=CORE, module=module)))
    return imports_s, time.perf_counter() - start - imports_s


def time_hit(place: Workplace, name: str) -> tuple[float, float]:
    """Return the median seconds of starting Python with the light core, and of a cache hit, alternating."""
    command = place.stage_command(name)
    seconds = take_turns(
        {"start": lambda: run_python(place, f"import {CORE}"), "cached": lambda: place.run(*command)}, HITS
    )
    return seconds["start"], seconds["cached"]


def describe_run(name: str, run: StageRun, imports_s: float, idle_s: float) -> Result:
    """Return the overhead of one run, with the breakdown of its seconds."""
    cost = run.manifest.cost
    inside = cost.wall_s - cost.work_s
    around = run.process_s - cost.wall_s - idle_s
    work = cost.work_s - imports_s
    note = (
        f"{run.process_s:.2f} s = start, end {idle_s:.2f} + imports {imports_s:.2f} + work {work:.2f}"
        f" + S3, hashes, manifest {inside:.2f} + plan, post-commit hook {around:.2f}; "
        f"{cost.bytes_in / 1e6:.1f} MB in, {cost.bytes_out / 1e6:.1f} MB out"
    )
    return Result(f"overhead.{name}", inside + around, "s", "limit", LIMIT_S, most=1.0, note=note)


def run_python(place: Workplace, code: str) -> str:
    """Run code in a new Python process and return its output."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=place.environment, check=True, capture_output=True, text=True).stdout
