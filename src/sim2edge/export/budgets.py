"""State what a release may use on a device: memory and processor time, by rules, as measurements differ by machine.

    state_memory(model)                         # MB
    state_cpu_ms(latency_ms=4.1, rate_hz=10)    # ms of a detection, 95th percentile

Devices measure both before they run a release (`sim2edge.edge.judgement.preflight`), and refuse one that takes more.
"""

import math
from pathlib import Path

from sim2edge.edge.detector.runtime import RUNTIME_MEMORY_MB, RUNTIME_OF_SUFFIX
from sim2edge.edge.judgement.preflight import FRAME_SHARE

MODEL_COPIES = 4
"""Memory of a model in sizes of its file: 2.6 measured in ONNX Runtime, less than 1 in LiteRT."""
MEMORY_STEP_MB = 64
"""Stated memory is rounded up to this step."""
LATENCY_MARGIN = 5
"""Processor time allowed to a detection, in latencies by the device profile: caches are shared with other programs."""
CAMERA_MS = 10
"""Processor time allowed for scaling a frame of a large camera."""


def state_memory(model: Path) -> int:
    """Return the memory to state for the detector with this file, MB."""
    needed = RUNTIME_MEMORY_MB[RUNTIME_OF_SUFFIX[model.suffix]] + MODEL_COPIES * model.stat().st_size / 2**20
    return math.ceil(needed / MEMORY_STEP_MB) * MEMORY_STEP_MB


def frame_limit_ms(rate_hz: float) -> float:
    """Return the processor time that a detection may take at most on a device of `rate_hz` frames a second, ms."""
    return 1000 / rate_hz * FRAME_SHARE


def state_cpu_ms(latency_ms: float | None, rate_hz: float) -> float:
    """Return the 95th percentile of a detection's processor time to state, ms.

    Args:
        latency_ms: by the device profile; None: not measured on that class, the frame rate alone counts.
        rate_hz: frames a second that the class of device takes.
    """
    limit = frame_limit_ms(rate_hz)
    return round(limit if latency_ms is None else min(limit, LATENCY_MARGIN * latency_ms + CAMERA_MS), 1)
