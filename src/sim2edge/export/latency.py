"""How fast variants are where it counts: through the device's own detector, by turns, so that noise hits all alike."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sim2edge.edge.camera_source import Image
from sim2edge.edge.obstacle_detector import ObstacleDetector


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one `detect`, from a camera image to named obstacles."""

    p50_ms: float
    p95_ms: float


def measure_latency(
    detectors: Mapping[str, ObstacleDetector], images: Sequence[Image], rounds: int, calls: int
) -> dict[str, Latency]:
    """Time `calls` detections of each detector in each of `rounds` rounds, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in detectors}
    for number in range(rounds + 1):
        for name, detector in detectors.items():
            taken = [_time_once(detector, images[(number * calls + call) % len(images)]) for call in range(calls)]
            if number:
                seconds[name].extend(taken)
    return {name: summarise(values) for name, values in seconds.items()}


def summarise(seconds: Sequence[float]) -> Latency:
    """Median and 95th percentile of durations in seconds, in milliseconds."""
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    return Latency(round(float(p50), 4), round(float(p95), 4))


def _time_once(detector: ObstacleDetector, image: Image) -> float:
    start = time.perf_counter()
    detector.detect(image)
    return time.perf_counter() - start
