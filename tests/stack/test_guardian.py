"""The guardian against processes that do all they can to stay."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

STUBBORN = """
import os, signal, subprocess, sys, time
from sim2edge.stack.guardian import guard

def work():
    print(os.getpid(), flush=True)
    deaf = "trap '' TERM HUP INT; sleep 1000 & echo $!; wait; sleep 1000"
    subprocess.Popen(["sh", "-c", deaf], start_new_session=True)
    subprocess.Popen(["setsid", "--fork", "sh", "-c", "setsid --fork sleep 1001; sleep 1002"])
    time.sleep(0.5)
    print("ready", flush=True)
    time.sleep(1000)

sys.exit(guard(work, grace_s=0.5))
"""


def test_daemons_that_left_session_and_parent_are_found(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as guardian:
        assert guardian.stdout
        supervisor = int(guardian.stdout.readline())
        while guardian.stdout.readline() != "ready\n":
            pass
        below = psutil.Process(guardian.pid).children(recursive=True)
        assert len(below) >= 4
        os.kill(supervisor, signal.SIGKILL)
        guardian.wait(timeout=20)
    assert [process for process in below if process.is_running()] == []


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_is_that_of_the_work(code: int) -> None:
    program = f"import os, sys; from sim2edge.stack.guardian import guard; sys.exit(guard(lambda: os._exit({code})))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == code


PATIENT = """
import sys, time
from sim2edge.stack.guardian import guard

def work():
    time.sleep(0.5)
    print("ready", flush=True)
    time.sleep(100)

sys.exit(guard(work) != -15)
"""


def test_a_stop_reaches_the_work() -> None:
    with subprocess.Popen([sys.executable, "-c", PATIENT], stdout=subprocess.PIPE, text=True) as guardian:
        assert guardian.stdout
        assert guardian.stdout.readline() == "ready\n"
        guardian.terminate()
        assert guardian.wait(timeout=10) == 0
