"""Measure the memory of long-running or replicated processes: the device's service and a capture worker."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import psutil

from benchmarks.results import Result
from benchmarks.service_process import running_service
from benchmarks.workplace import Workplace
from sim2edge.edge.bundle import unpack_bundle
from sim2edge.edge.detector.footprint import measure_footprint
from sim2edge.edge.judgement import preflight

ROUNDS = 3
LOOK_EVERY_S = 0.1
LONE_WORKER = ("episodes=2", "episode_seconds=3", "workers=1")


def measure(place: Workplace) -> Iterator[Result]:
    """Yield what the detector, its service, a pre-flight and a capture worker take."""
    bundle = unpack_bundle(place.fetch("export").path("bundle.tar"), place.new_folder("slot") / "a")
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(measure_footprint(bundle.folder))
        bare.append(measure_bare(bundle.model))
    peer_ms, peer_mb = (median(each[name] for each in bare) for name in ("ready_ms", "memory_mb"))
    import_ms, load_ms = (median(each[name] for each in ours) for name in ("import_ms", "load_ms"))
    note = f"import {import_ms:.0f} ms, load and self-check {load_ms:.0f} ms"
    alone = "cv2, numpy, runtime and model alone"
    yield Result("footprint.detector_ready", import_ms + load_ms, "ms", alone, peer_ms, note=note)
    with running_service(bundle.folder) as process:
        memory = process.memory_mb
    yield Result("footprint.service_memory", memory, "MB", alone, peer_mb, note="resident, whole process with HTTP")
    yield measure_preflight(bundle.folder)
    yield measure_capture(place)


def measure_preflight(folder: Path) -> Result:
    """Measure what it costs a device to try a release before it switches."""
    figures = [preflight.check(folder, rate_hz=10).figures for _ in range(ROUNDS)]
    seconds, memory = (median(each[name] for each in figures) for name in ("cpu_s", "memory_mb"))
    note = (
        f"processor time of a pre-flight, {figures[0]['detections']} detections, {memory:.0f} MB resident at its peak"
    )
    return Result("footprint.preflight", seconds, "s", note=note)


def measure_bare(model: Path) -> Mapping[str, float]:
    """Return time and memory of a process with the inference runtime alone."""
    command = [sys.executable, "-m", "benchmarks.bare_runtime", str(model)]
    measured: Mapping[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return measured


def measure_capture(place: Workplace) -> Result:
    """Measure the peak memory of a capture's only worker, against that of its parent process."""
    command = [sys.executable, "-m", "sim2edge", "capture", "--partition", "bench-lone", *LONE_WORKER]
    with subprocess.Popen(command, env=place.environment, stdout=subprocess.DEVNULL) as process:
        peaks: dict[int, float] = {}
        while process.poll() is None:
            peaks |= peak_memory_mb(process.pid)
            time.sleep(LOOK_EVERY_S)
    if process.returncode:
        raise RuntimeError(f"capture: exit {process.returncode}")
    stage = peaks.pop(process.pid)
    cores = len(os.sched_getaffinity(0))
    note = f"peak resident; one worker a core, here {cores}"
    return Result("footprint.capture_worker", max(peaks.values()), "MB", "the stage's own process", stage, note=note)


def peak_memory_mb(root: int) -> dict[int, float]:
    """Return process id to peak resident memory so far, MB, of a process and its descendants."""
    try:
        family = [root, *(child.pid for child in psutil.Process(root).children(recursive=True))]
    except psutil.NoSuchProcess:
        return {}
    return {pid: peak for pid in family if (peak := high_water_mb(pid)) is not None}


def high_water_mb(pid: int) -> float | None:
    """Return `VmHWM` of a process (proc(5)), MB; None if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
