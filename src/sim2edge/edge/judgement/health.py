"""Track the health of the running release: counters of its inferences, and the state derived from them.

health = Health("3f2a9c0d11e4b7a6", stall_after_s=5)
health.begin()                      # on duty
health.succeeded(seconds=0.002, cpu_seconds=0.002)
health.report()                     # the body of /healthz
"""

import threading
import time
from collections import deque
from typing import Any

import psutil

FAILING_AFTER = 3
"""Errors in a row that make a release unhealthy."""

LATENCIES_KEPT = 512
KINDS = ("camera", "inference", "machine")
"""What can keep a frame from being judged: the camera, the release, or a machine without memory."""


class Health:
    """Counts inferences and errors; safe to share between threads."""

    def __init__(self, release: str, stall_after_s: float | None) -> None:
        self.release = release
        self._stall_after_s = stall_after_s
        self._lock = threading.Lock()
        self._process = psutil.Process()
        self._started = time.monotonic()
        self._duty: float | None = None
        self._last_inference: float | None = None
        self._latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._cpu: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._inferences = 0
        self._errors = dict.fromkeys(KINDS, 0)
        self._in_a_row = dict.fromkeys(KINDS, 0)
        self._last_errors = dict.fromkeys(KINDS, "")
        self._camera_mb = 0.0
        self._last_error: str | None = None
        self._begun = 0
        self._under_way = False
        self.crashing = False
        """Whether the agent says that the detector ends again and again."""

    def begin(self) -> None:
        """Note that the detector goes on duty."""
        with self._lock:
            self._duty = time.monotonic()

    def pause(self) -> None:
        """Note that it is off duty."""
        with self._lock:
            self._duty = None

    def begins(self) -> None:
        """Note that an inference begins; `succeeded` or `failed` follows."""
        with self._lock:
            self._begun += 1
            self._under_way = True

    def succeeded(self, seconds: float, cpu_seconds: float = 0.0) -> None:
        """Count one inference that took `seconds`, `cpu_seconds` of them on a processor."""
        with self._lock:
            self._under_way = False
            self._inferences += 1
            self._in_a_row = dict.fromkeys(self._in_a_row, 0)
            self._latencies.append(seconds)
            self._cpu.append(cpu_seconds)
            self._last_inference = time.monotonic()

    def failed(self, kind: str, reason: str) -> None:
        """Count one frame that failed, for `reason`; `kind` is one of KINDS."""
        with self._lock:
            self._under_way = self._under_way and kind == "camera"
            self._errors[kind] += 1
            self._in_a_row[kind] += 1
            self._last_errors[kind] = reason
            self._last_error = f"{kind}: {reason}"

    def note_camera_memory(self, megabytes: float) -> None:
        """Note what opening the camera and reading its first picture took, which is no use of the release."""
        with self._lock:
            self._camera_mb = max(0.0, megabytes)

    def memory_mb(self) -> float:
        """Return the resident memory of this process, MiB."""
        return float(self._process.memory_info().rss) / 2**20

    def report(self) -> dict[str, Any]:
        """Return all counters, the state, and whether that state is healthy."""
        with self._lock:
            now = time.monotonic()
            idle = now - max(self._last_inference or self._started, self._duty or self._started)
            in_a_row = sum(self._in_a_row.values())
            state = judge(self._inferences, in_a_row, idle, self._stall_after_s) if self._duty else "standby"
            state = "crashing" if self.crashing and self._duty else state
            latencies, cpu = sorted(self._latencies), sorted(self._cpu)
            return {
                "release": self.release,
                "state": state,
                "healthy": state in ("starting", "running", "standby"),
                "on_duty_s": round(now - self._duty, 3) if self._duty else None,
                "inferences": self._inferences,
                "errors": sum(self._errors.values()),
                "consecutive_errors": in_a_row,
                "last_error": self._last_error,
                **{f"{kind}_errors": count for kind, count in self._errors.items()},
                **{f"{kind}_errors_in_a_row": count for kind, count in self._in_a_row.items()},
                **{f"last_{kind}_error": reason for kind, reason in self._last_errors.items()},
                "inferences_begun": self._begun,
                "inference_under_way": self._under_way,
                "last_inference_age_s": round(now - self._last_inference, 3) if self._last_inference else None,
                "uptime_s": round(now - self._started, 3),
                "latency_ms_p50": percentile_ms(latencies, 0.5),
                "latency_ms_p95": percentile_ms(latencies, 0.95),
                "cpu_ms_p95": percentile_ms(cpu, 0.95),
                "memory_mb": round(self.memory_mb(), 1),
                "camera_memory_mb": round(self._camera_mb, 1),
            }


def judge(inferences: int, consecutive_errors: int, idle_s: float, stall_after_s: float | None) -> str:
    """Return the state for these counters: failing, stalled, starting or running.

    Args:
        inferences: number of successful inferences.
        consecutive_errors: failures since the last success.
        idle_s: seconds since the last inference, or since the start.
        stall_after_s: seconds without a frame after which a camera counts as stalled; None without a camera.
    """
    if consecutive_errors >= FAILING_AFTER:
        return "failing"
    if stall_after_s is not None and idle_s > stall_after_s:
        return "stalled"
    return "running" if inferences else "starting"


def percentile_ms(ordered_s: list[float], share: float) -> float | None:
    """Return the value below which `share` of the sorted seconds fall, in milliseconds; None for an empty list."""
    if not ordered_s:
        return None
    return round(1000 * ordered_s[min(int(share * len(ordered_s)), len(ordered_s) - 1)], 3)
