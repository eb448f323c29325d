"""Measure capture: episodes/s on one and two processes, and an episode's CPU time against the bare simulator's."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from benchmarks.results import Result
from benchmarks.timing import time_once
from benchmarks.workplace import Workplace
from sim2edge.capture.camera_capture import probe_egl
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.workers import Submit, capture_one, worker_pool
from sim2edge.config import load

SHORT = ("episode_seconds=10", "camera.width=160", "camera.height=120", "verify_every=0")
EVERYTHING = ("lidar_3d.enabled=true", "camera.masks=true")
"""Optional sensors besides camera, LiDAR and IMU."""

ROUNDS = 2
EPISODES_A_ROUND = 4
EPISODES_ALONE = 2
SETTLING_S = 1.5
MIN_SPEED_UP = 1.8
MAX_OVERHEAD = 1.25


def measure(place: Workplace) -> Iterator[Result]:
    """Yield rates, the speed-up of a second process, and the overhead; with the ray camera, and with EGL if present."""
    renderer = probe_egl()
    cameras = {"ray": ("camera.backend=ray",)}
    if renderer:
        cameras["egl"] = ("camera.backend=egl", f"camera.renderer={renderer}")
    for backend, camera in cameras.items():
        note = renderer if backend == "egl" and renderer else "ray casting" + ("" if renderer else "; no EGL here")
        yield from measure_rates(place, backend, camera, note)
    for backend, camera in cameras.items():
        yield measure_overhead(place, f"overhead_{backend}", camera, MAX_OVERHEAD)
    yield measure_overhead(place, "overhead_everything", EVERYTHING, None)


def measure_rates(place: Workplace, backend: str, camera: Sequence[str], note: str) -> Iterator[Result]:
    """Yield episodes/s of one process and of two, which alternate on the same episodes."""
    seconds = {1: 0.0, 2: 0.0}
    with ExitStack() as stack:
        pools = {count: stack.enter_context(open_pool(place, backend, camera, count)) for count in seconds}
        for count, submit in pools.items():
            warm_up(submit, count)
        for number in range(ROUNDS):
            for count, submit in pools.items():
                seconds[count] += time_once(lambda submit=submit, first=number * EPISODES_A_ROUND: burst(submit, first))
    one, two = (ROUNDS * EPISODES_A_ROUND / seconds[count] for count in (1, 2))
    yield Result(f"capture.rate_{backend}", one, "episodes/s", note=f"10 s of 160x120, one process, {note}")
    cores = len(os.sched_getaffinity(0))
    said = f"{cores} cores; other load on them lowers the figure"
    yield Result(f"capture.two_{backend}", two, "episodes/s", "one process", one, least=MIN_SPEED_UP, note=said)


def open_pool(place: Workplace, name: str, camera: Sequence[str], count: int) -> AbstractContextManager[Submit]:
    """Start `count` worker processes with a folder of their own."""
    config = load(CaptureConfig, "capture", overrides=[*SHORT, *camera, f"workers={count}"])
    return worker_pool(config, "bench", place.new_folder(f"capture-{name}-{count}"), place.folder)


def warm_up(submit: Submit, count: int) -> None:
    """Let every process of a pool capture its first episode, which includes one-time loading."""
    first = ROUNDS * EPISODES_A_ROUND
    processes = {future.result() for future in [submit(capture_and_wait, first + k) for k in range(count)]}
    if len(processes) != count:
        raise RuntimeError(f"expected {count} worker processes, {len(processes)} run")


def capture_and_wait(index: int) -> int:
    """Capture an episode, wait until the other processes have begun theirs, and return this process's id."""
    capture_one(index)
    time.sleep(SETTLING_S)
    return os.getpid()


def burst(submit: Submit, first: int) -> None:
    """Capture `EPISODES_A_ROUND` episodes from index `first` on."""
    for future in [submit(capture_one, first + k) for k in range(EPISODES_A_ROUND)]:
        future.result()


def measure_overhead(place: Workplace, name: str, more: Sequence[str], most: float | None) -> Result:
    """Measure the CPU time per frame against that of the simulator's calls alone."""
    done = run_alone(place.new_folder("alone"), (*SHORT, *more))
    whole, bare = (1000 * done[part] / done["frames"] for part in ("whole_s", "bare_s"))
    note = f"CPU time, {EPISODES_ALONE} episodes" + (f", {' '.join(more)}" if more else "")
    return Result(f"capture.{name}", whole, "ms/frame", "reset, observe, step alone", bare, most=most, note=note)


def run_alone(folder: Path, overrides: Sequence[str]) -> Mapping[str, float]:
    """Run `benchmarks.bare_capture` and return its figures."""
    command = [sys.executable, "-m", "benchmarks.bare_capture", str(folder), str(EPISODES_ALONE), *overrides]
    measured: Mapping[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return measured
