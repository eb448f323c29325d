"""Run a release's self-test in this process, under limits, and print the result: the child of `preflight`.

python -m sim2edge.edge.judgement.preflight_run FOLDER [--threads 1]
{"base_mb": 79.4}
{"fault": "", "hindrance": "", "cpu_ms_p95": 0.71, "detections": 40, "memory_mb": 88.1, "cpu_s": 0.9}

The first line is the memory before the model is loaded, which is this machine's. The process yields to all others:
lowest priority, first to be ended when memory is short. Memory that the model may allocate and processor time are
limited once the runtime is imported, so that a release cannot harm the robot.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sim2edge.errors import BadInput
from sim2edge.lines import join_lines

NICE = 19
OOM_SCORE = 1000
"""The kernel ends this process before any other when memory is short (proc(5), oom_score_adj)."""
CPU_S = 30
"""Processor time to load and to test a release; a good one takes less than 1 s, a Pi a few."""
WRITTEN_BYTES = 1 << 20
OPEN_FILES = 256

MAX_DETECTIONS = 40
MIN_DETECTIONS = 3
MEASURED_S = 4.0
"""Processor time after which a slow release has been measured enough."""


def restrain() -> None:
    """Give way to all other processes, and limit what does not depend on the release."""
    with suppress(OSError):
        os.nice(NICE)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, WRITTEN_BYTES)
    limit(resource.RLIMIT_NOFILE, OPEN_FILES)


def restrain_model(memory_mb: float) -> None:
    """Limit memory and processor time from now on, once Python and the runtime have taken theirs.

    RLIMIT_DATA counts what is allocated; RLIMIT_AS would count mapped files and reserved addresses, too, of which
    NumPy and the runtimes have hundreds of MB.
    """
    limit(resource.RLIMIT_DATA, int((status_mb("VmData") + memory_mb) * 2**20))
    limit(resource.RLIMIT_CPU, int(time.process_time()) + CPU_S)


def limit(which: int, value: int) -> None:
    """Lower a limit; one that is lower already stays."""
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, hard if which == resource.RLIMIT_CPU else value))


def status_mb(field: str) -> float:
    """Return a size of `/proc/self/status` in MiB: VmData allocated now, VmHWM the peak of resident memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def examine(folder: Path, threads: int, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Load the release in `folder`, compare its answers with the expected ones, and time it.

    Args:
        folder: the unpacked bundle.
        threads: of the runtime.
        tell: is given what is known before the release is touched.

    Returns:
        `fault`: what is wrong with the release; `hindrance`: what kept it from being tested; else the figures.
    """
    from sim2edge.edge.bundle import open_bundle
    from sim2edge.edge.detector.runtime import import_runtime
    from sim2edge.edge.obstacle_detector import ObstacleDetector

    try:  # its files were checked when they were unpacked: what differs now is damaged
        release = open_bundle(folder).release
        import_runtime(release.runtime)
    except BadInput as error:
        return {"hindrance": str(error)}
    tell({"base_mb": round(status_mb("VmRSS"), 1)})
    restrain_model(release.memory_mb)
    try:
        detector = ObstacleDetector(folder, threads)
        if detector.self_test is None and release.cpu_ms_p95 is not None:
            return {"fault": "signature.json: it has no self_test"}
        return measure(detector)
    except BadInput as error:
        return {"fault": str(error)}
    except MemoryError:
        return judge_shortage(release.memory_mb)
    except OSError:
        raise
    except Exception as error:  # whatever its parts lead to
        return {"fault": f"{type(error).__name__}: {join_lines(error)}"}


def measure(detector: Any) -> dict[str, Any]:
    """Return the processor time of a detection, ms, over the pictures of the self-test in turns."""
    from sim2edge.edge.judgement.health import percentile_ms

    pictures = detector.pictures()
    taken: list[float] = []
    while len(taken) < MAX_DETECTIONS and (len(taken) < MIN_DETECTIONS or sum(taken) < MEASURED_S):
        before = detector.cpu_seconds()
        detector.detect(pictures[len(taken) % len(pictures)])
        taken.append(detector.cpu_seconds() - before)
    return {"cpu_ms_p95": percentile_ms(sorted(taken), 0.95), "detections": len(taken)}


def judge_shortage(memory_mb: float) -> dict[str, Any]:
    """Tell why an allocation failed: the machine has less left than the release declares, or the release needs more."""
    import psutil

    left = psutil.virtual_memory().available / 2**20
    if left < memory_mb:
        return {"hindrance": f"the machine has only {left:.0f} MB of memory left; the release may take {memory_mb:.0f}"}
    return {"fault": f"it needs more memory than the {memory_mb:.0f} MB that it declares"}


def main(words: Sequence[str] | None = None) -> int:
    """Print the result as JSON in one line; standard output of the runtimes goes to standard error."""
    parser = argparse.ArgumentParser(description="Run the self-test of a release in this process, under limits.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parent", type=int, help="process to end with")
    arguments = parser.parse_args(words)
    if arguments.parent:
        from sim2edge.prctl import die_with_parent

        die_with_parent(parent=arguments.parent)
    restrain()
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)

        def tell(content: dict[str, Any]) -> None:
            print(json.dumps(content), file=answers, flush=True)

        try:
            found = examine(arguments.folder, arguments.threads, tell)
        except OSError as error:  # of the disk, or of this process's share of the machine
            found = {"hindrance": str(error)}
        figures = {"memory_mb": round(status_mb("VmHWM"), 1), "cpu_s": round(time.process_time(), 2)}
        tell({"fault": "", "hindrance": ""} | found | figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
