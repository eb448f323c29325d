"""A worker captures hundreds of episodes one after the other; what it holds must not grow with them."""

import ctypes
import gc
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from shutil import rmtree

import psutil
import pytest

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.workers import capture_one, start_worker
from sim2edge.config import load

TINY = ("episode_seconds=1", "camera.width=32", "camera.height=24", "lidar.beams=90", "verify_every=0")
FEW, MANY = 100, 500
MAX_GROWTH_MB = 8.0
"""20 kB an episode."""
LIBC = ctypes.CDLL("libc.so.6")
PR_SET_THP_DISABLE = 41
"""prctl(2)"""


def memory_after(folder: Path, first: int, last: int) -> tuple[float, float, float]:
    """Capture episodes; what this process then holds, what is resident, and the peak of that so far, MB."""
    # With huge pages (numpy asks for them) a block of a few bytes may hold 2 MB, or not, as the kernel finds them.
    LIBC.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    for index in range(first, last):
        rmtree(folder / capture_one(index).result.episode_id)
    resident = resident_mb()
    gc.collect()
    # What the allocator keeps of freed memory differs by tens of megabytes from run to run.
    LIBC.malloc_trim(0)
    return held_mb(), resident, getrusage(RUSAGE_SELF).ru_maxrss / 2**10


def held_mb() -> float:
    """What this process alone holds: without the pages of files, which the kernel takes and gives as it likes."""
    memory = psutil.Process().memory_info()
    return float((memory.rss - memory.shared) / 2**20)


def resident_mb() -> float:
    """Resident memory of this process."""
    return float(psutil.Process().memory_info().rss / 2**20)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_worker_does_not_grow(tmp_path):
    config = load(CaptureConfig, "capture", overrides=TINY)
    pool = ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), start_worker, (config, "long", tmp_path, tmp_path)
    )
    with pool:
        early, early_resident, _ = pool.submit(memory_after, tmp_path, 0, FEW).result()
        late, late_resident, peak = pool.submit(memory_after, tmp_path, FEW, MANY).result()
    print(f"held: {early:.1f} MB after {FEW} episodes, {late:.1f} MB after {MANY}")
    print(f"resident: {early_resident:.1f} MB, then {late_resident:.1f} MB, at most {peak:.1f} MB")
    assert late - early < MAX_GROWTH_MB
