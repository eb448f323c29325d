"""The stage through the real runner, with real worker processes: what it commits, and how it ends."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from sim2edge.errors import BadInput
from sim2edge.manifest import Manifest


def digests(manifest: Manifest) -> dict[str, str]:
    return {file.path: file.sha256 for file in manifest.files}


def capture_workers(parent: psutil.Process) -> list[psutil.Process]:
    return [child for child in parent.children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]


def test_a_batch_is_committed_with_its_table_summary_and_ref(batch):
    bus, manifest, folder = batch
    assert bus.read_ref("refs/batches/once").target == manifest.reference
    with (folder / "aggregated_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["episode_id"] for row in rows] == ["once.0000", "once.0001"]
    assert manifest.summary["frames"] == sum(int(row["frames"]) for row in rows) == 30
    assert manifest.summary["camera_backend"] == "ray"
    assert manifest.summary["successes"] + sum(manifest.summary["failures"].values()) == 2
    assert manifest.summary["checks"] == {"frames": 2, "wrong": 0, "episodes": 1}
    of_episodes = [file.path for file in manifest.files if "/" in file.path]
    assert len(of_episodes) == 2 * 4
    assert (folder / "contact_sheet.png").is_file()


def test_again_and_on_one_worker_the_bytes_are_the_same(bus, batch, capture_batch):
    assert digests(capture_batch(bus, "once", "workers=1")) == digests(batch[1])


def test_another_batch_shares_no_drive(bus, batch, capture_batch):
    other = digests(capture_batch(bus, "twice", "episodes=1"))
    assert not set(other.values()) & set(digests(batch[1]).values())


def test_a_config_that_fits_no_room_is_bad_input(bus, capture_batch):
    with pytest.raises(BadInput, match=r"capture\.room: no drivable room"):
        capture_batch(bus, "b", "room.gap_m=5")
    assert list(bus.list("episodes/")) == []


def test_a_killed_worker_fails_the_stage_and_leaves_nothing(bus, capture_batch):
    me = psutil.Process()

    def kill_one() -> None:
        while not (workers := capture_workers(me)):
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(workers[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(RuntimeError, match="worker process died"):
        capture_batch(bus, "b", "episodes=50", "episode_seconds=20")
    killer.join()
    assert capture_workers(me) == []
    assert list(bus.list("episodes/")) == []


STAGE = """
import sys
from pathlib import Path
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.workers import capture_one, worker_pool
from sim2edge.config import load
if __name__ == "__main__":
    config = load(CaptureConfig, "capture", overrides=["workers=2", "episode_seconds=60"])
    with worker_pool(config, "orphans", Path(sys.argv[1]), Path(sys.argv[1])) as submit:
        for future in [submit(capture_one, index) for index in range(4)]:
            future.result()
"""


def test_workers_do_not_outlive_a_killed_stage(tmp_path):
    (tmp_path / "stage.py").write_text(STAGE)
    stage = subprocess.Popen([sys.executable, str(tmp_path / "stage.py"), str(tmp_path / "out")])
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("out/*/simulation.mcap"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        workers = capture_workers(psutil.Process(stage.pid))
        assert len(workers) == 2
    finally:
        stage.kill()
        stage.wait()
    gone, alive = psutil.wait_procs(workers, timeout=5)
    assert (len(gone), alive) == (2, [])
