"""Time variants through the device's own detector, in turns, so that noise affects all alike.

The results hold for this machine only: they go into device profiles and measurements, and never affect a choice.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim2edge.edge.bundle import Bundle, unpack_bundle, write_bundle
from sim2edge.edge.detector.camera_source import Image
from sim2edge.edge.obstacle_detector import ObstacleDetector
from sim2edge.export.forms import FORMS
from sim2edge.export.release_bundle import swap_model


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one `detect`, from a camera image to named obstacles."""

    p50_ms: float
    p95_ms: float


def install_forms(bundle: Bundle, variants: Path, work: Path, threads: int) -> dict[str, ObstacleDetector]:
    """Install every form in `variants` that a device can run, in slots below `work`, and load it.

    Args:
        bundle: an installed release of the same network.
        variants: the folder with the exported files.
        work: an empty folder.
        threads: of the runtimes.
    """
    detectors = {}
    for form in FORMS:
        if form.on_device and (variants / form.file).is_file():
            tar = work / f"{form.name}.tar"
            write_bundle(tar, swap_model(bundle, variants / form.file))
            detectors[form.name] = ObstacleDetector(unpack_bundle(tar, work / form.name).folder, threads)
    return detectors


def measure_latency(
    detectors: Mapping[str, ObstacleDetector], images: Sequence[Image], rounds: int, calls: int
) -> dict[str, Latency]:
    """Time `calls` detections of each detector in each of `rounds` rounds, after one warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in detectors}
    for number in range(rounds + 1):
        for name, detector in detectors.items():
            taken = [_time_once(detector, images[(number * calls + call) % len(images)]) for call in range(calls)]
            if number:
                seconds[name].extend(taken)
    return {name: summarise(values) for name, values in seconds.items()}


def summarise(seconds: Sequence[float]) -> Latency:
    """Return the median and 95th percentile, in milliseconds, of durations in seconds."""
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    return Latency(round(float(p50), 4), round(float(p95), 4))


def _time_once(detector: ObstacleDetector, image: Image) -> float:
    start = time.perf_counter()
    detector.detect(image)
    return time.perf_counter() - start
