"""Sharing work over processes: order, errors, and nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sim2edge.clean.workers import in_order

SCRIPT = """
import time
from sim2edge.clean.workers import in_order
if __name__ == "__main__":
    for _ in in_order(time.sleep, [0.01] * 4 + [60] * 4, 2):
        print("done", flush=True)
"""


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_tasks(workers):
    assert list(in_order(abs, range(-20, 0), workers)) == list(range(20, 0, -1))


def test_an_error_in_a_worker_reaches_the_caller():
    with pytest.raises(TypeError):
        list(in_order(abs, [1, "two", 3], 2))


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_end_when_the_parent_is_killed(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        for _ in range(4):
            assert parent.stdout.readline() == "done\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) >= 2
        os.kill(parent.pid, signal.SIGKILL)
        deadline = time.monotonic() + 15
        while any(map(runs, family)):
            assert time.monotonic() < deadline, family
            time.sleep(0.05)
