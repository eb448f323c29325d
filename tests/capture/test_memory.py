"""A worker captures hundreds of episodes one after the other; what it holds must not grow with them."""

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
MOST_GROWTH_MB = 8.0
"""20 kB an episode."""


def resident_after(folder: Path, first: int, last: int) -> tuple[float, float]:
    """Capture episodes; the resident memory of this process afterwards, and its peak so far, MB."""
    for index in range(first, last):
        rmtree(folder / capture_one(index).result.episode_id)
    return psutil.Process().memory_info().rss / 2**20, getrusage(RUSAGE_SELF).ru_maxrss / 2**10


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_worker_does_not_grow(tmp_path):
    config = load(CaptureConfig, "capture", overrides=TINY)
    pool = ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), start_worker, (config, "long", tmp_path, tmp_path, "ray")
    )
    with pool:
        early, _ = pool.submit(resident_after, tmp_path, 0, FEW).result()
        late, peak = pool.submit(resident_after, tmp_path, FEW, MANY).result()
    print(f"resident: {early:.1f} MB after {FEW} episodes, {late:.1f} MB after {MANY}, at most {peak:.1f} MB")
    assert abs(late - early) < MOST_GROWTH_MB
