"""Measure what the detector costs a device before the first frame: time to import, time to load, memory.

python -m sim2edge.edge.detector.footprint /data/slots/a
{"import_ms": 160.2, "load_ms": 12.1, "memory_mb": 63.0}
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sim2edge.errors import BadInput

TIMEOUT_S = 120


def measure_footprint(bundle: Path, threads: int = 1) -> dict[str, float]:
    """Measure loading the bundle, in a process of its own.

    Raises:
        BadInput: the bundle cannot be loaded.
    """
    command = [sys.executable, "-m", "sim2edge.edge.detector.footprint", str(bundle), str(threads)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if result.returncode:
        raise BadInput(f"{bundle}: cannot be loaded: {result.stderr.strip().splitlines()[-1:]}")
    measured: dict[str, float] = json.loads(result.stdout)
    return measured


def load_and_measure(bundle: Path, threads: int) -> dict[str, Any]:
    """Import and load the detector in this process and return the times (ms) and the memory (MiB) it took."""
    start = time.perf_counter()
    import psutil

    from sim2edge.edge.obstacle_detector import ObstacleDetector

    imported = time.perf_counter()
    ObstacleDetector(bundle, threads)
    loaded = time.perf_counter()
    return {
        "import_ms": round(1000 * (imported - start), 1),
        "load_ms": round(1000 * (loaded - imported), 1),
        "memory_mb": round(psutil.Process().memory_info().rss / 2**20, 1),
    }


if __name__ == "__main__":
    print(json.dumps(load_and_measure(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)))
