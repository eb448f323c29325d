"""Collect the metrics that a device serves at `/metrics`, in a registry of their own.

metrics = DeviceMetrics(release)
metrics.observe(detection, seconds=0.004)
body = metrics.render()                     # Prometheus text format
"""

import time
from datetime import datetime
from functools import cache
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sim2edge.edge.bundle import Release
from sim2edge.edge.obstacle_detector import Detection

THERMAL_ZONE = Path("/sys/class/thermal/thermal_zone0/temp")
"""The SoC's temperature on a Raspberry Pi, in thousandths of a degree Celsius."""

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class DeviceMetrics:
    """Counters and gauges of one running release."""

    def __init__(self, release: Release, thermal_zone: Path = THERMAL_ZONE, installed: float | None = None) -> None:
        self._registry = CollectorRegistry()
        self._inferences = Counter("sim2edge_inferences", "Inferences that succeeded.", registry=self._registry)
        self._errors = Counter("sim2edge_errors", "Frames that failed, by where.", ["kind"], registry=self._registry)
        self._latency = Histogram(
            "sim2edge_inference_seconds",
            "Time of one inference with pre- and post-processing.",
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        detections = Counter("sim2edge_detections", "Obstacles detected, by class.", ["class"], registry=self._registry)
        floors = Counter("sim2edge_floors", "Frames by detected floor.", ["floor"], registry=self._registry)
        self._detections_of, self._frames_on = cache(detections.labels), cache(floors.labels)
        self._add_gauges(release, thermal_zone, installed)

    def _add_gauges(self, release: Release, thermal_zone: Path, installed: float | None) -> None:
        info = Gauge("sim2edge_release_info", "The running release.", ["release", "recipe"], registry=self._registry)
        info.labels(release.id, release.recipe).set(1)
        started = Gauge("sim2edge_start_time_seconds", "When the service started, Unix time.", registry=self._registry)
        started.set_to_current_time()
        memory = Gauge("sim2edge_resident_memory_bytes", "Resident memory.", registry=self._registry)
        process = psutil.Process()
        memory.set_function(lambda: process.memory_info().rss)
        born = datetime.fromisoformat(release.trained).timestamp() if release.trained else installed
        if born is not None:
            what = "Time since the model was trained or, where its release does not say, was installed."
            age = Gauge("sim2edge_model_age_seconds", what, registry=self._registry)
            age.set_function(lambda: time.time() - born)
        if read_temperature(thermal_zone) is not None:
            heat = Gauge("sim2edge_temperature_celsius", "Temperature of the processor.", registry=self._registry)
            heat.set_function(lambda: read_temperature(thermal_zone) or float("nan"))

    def observe(self, detection: Detection, seconds: float) -> None:
        """Count one inference that took `seconds`."""
        self._inferences.inc()
        self._latency.observe(seconds)
        self._frames_on(detection.floor).inc()
        for obstacle in detection.obstacles:
            self._detections_of(obstacle.label).inc()

    def count_error(self, kind: str) -> None:
        """Count one failure of `kind`: camera, inference, machine."""
        self._errors.labels(kind).inc()

    def render(self) -> bytes:
        """Return all metrics in Prometheus text format."""
        return generate_latest(self._registry)


def read_temperature(zone: Path) -> float | None:
    """Return the temperature of a thermal zone in degrees Celsius; None where the machine has none."""
    try:
        return int(zone.read_text()) / 1000
    except (OSError, ValueError):
        return None
