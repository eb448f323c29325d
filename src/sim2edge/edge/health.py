"""Track the health of the running release: counters of its inferences, and the state derived from them.

health = Health("3f2a9c0d11e4b7a6", stall_after_s=5)
health.succeeded(seconds=0.002)
health.report()                     # the body of /healthz
"""

import threading
import time
from collections import deque
from typing import Any

FAILING_AFTER = 3
"""Errors in a row that make a release unhealthy."""

LATENCIES_KEPT = 512


class Health:
    """Counts inferences and errors; safe to share between threads."""

    def __init__(self, release: str, stall_after_s: float | None) -> None:
        self.release = release
        self._stall_after_s = stall_after_s
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._last_inference: float | None = None
        self._latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._inferences = 0
        self._errors = 0
        self._consecutive_errors = 0
        self._last_error: str | None = None

    def succeeded(self, seconds: float) -> None:
        """Count one inference that took `seconds`."""
        with self._lock:
            self._inferences += 1
            self._consecutive_errors = 0
            self._latencies.append(seconds)
            self._last_inference = time.monotonic()

    def failed(self, reason: str) -> None:
        """Count one frame that failed, for `reason`."""
        with self._lock:
            self._errors += 1
            self._consecutive_errors += 1
            self._last_error = reason

    def report(self) -> dict[str, Any]:
        """Return all counters, the state, and whether that state is healthy."""
        with self._lock:
            now = time.monotonic()
            idle = now - (self._last_inference or self._started)
            latencies = sorted(self._latencies)
            state = judge(self._inferences, self._consecutive_errors, idle, self._stall_after_s)
            return {
                "release": self.release,
                "state": state,
                "healthy": state in ("starting", "running"),
                "inferences": self._inferences,
                "errors": self._errors,
                "consecutive_errors": self._consecutive_errors,
                "last_error": self._last_error,
                "last_inference_age_s": round(idle, 3) if self._last_inference else None,
                "uptime_s": round(now - self._started, 3),
                "latency_ms_p50": percentile_ms(latencies, 0.5),
                "latency_ms_p95": percentile_ms(latencies, 0.95),
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
