"""A thread that dies fails its test within seconds, also on a worker of pytest-xdist; others are left alone."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = """
import threading, time

def die():
    raise FileNotFoundError("no such program: an-init")

def wait_for_ever():
    threading.Thread(target=die, name="helper").start()
    threading.Event().wait(900)

def test_waits_for_a_thread_that_died():
    wait_for_ever()

def test_catches_every_exception():
    try:
        wait_for_ever()
    except Exception:
        pass

def test_swallows_even_the_interruption():
    try:
        wait_for_ever()
    except BaseException:
        pass

def test_a_thread_that_ends_is_no_failure():
    thread = threading.Thread(target=time.sleep, args=(0.01,))
    thread.start()
    thread.join()

def test_a_thread_may_exit():
    thread = threading.Thread(target=lambda: exit(3))
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize("workers", [[], ["-p", "xdist", "--numprocesses=1"]], ids=["alone", "xdist"])
def test_a_dying_thread_fails_its_test_at_once(tmp_path: Path, workers: list[str]) -> None:
    (tmp_path / "test_threads.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "thread_watch", "-p", "no:cacheprovider", "-rf", *workers]
    started = time.monotonic()
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
    }
    ended = subprocess.run(
        [*command, str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    failed = set(re.findall(r"^FAILED \S+::(\w+)", ended.stdout, re.MULTILINE))
    waiting = {
        "test_waits_for_a_thread_that_died",
        "test_catches_every_exception",
        "test_swallows_even_the_interruption",
    }
    assert (failed, ended.returncode) == (waiting, 1), ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout
    assert "a thread died during this test: helper" in ended.stdout
    assert "FileNotFoundError: no such program: an-init" in ended.stdout
    assert time.monotonic() - started < 200
