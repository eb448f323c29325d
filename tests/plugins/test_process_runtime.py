"""Stages as local processes: output comes through whatever it is, and nothing outlives the task, however it ends."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.errors import BadInput
from sim2edge_airflow.runtimes.choose_runtime import make_runtime
from sim2edge_airflow.runtimes.process_runtime import LINE_LIMIT, LineReader, ProcessRuntime, stage_environment
from sim2edge_airflow.runtimes.runtime import RunStatus, StageJob
from sim2edge_airflow.runtimes.stage_settings import StageSettings

PLUGINS = Path(__file__).parents[2] / "plugins"


def job(stage: str = "clean", **more: Any) -> StageJob:
    return StageJob(stage, [stage, "--partition=p"], {}, deadline_s=600, settings=StageSettings(), **more)


def run_to_the_end(stage: str = "clean") -> tuple[list[str], int | None]:
    runtime = ProcessRuntime()
    run = runtime.submit(job(stage))
    lines = list(runtime.logs(run))
    return lines, code_of(runtime.clean(run))


def code_of(status: RunStatus | None) -> int | None:
    assert status
    return status.exit_code


def wait_for_pids(path: Path) -> tuple[list[int], Path]:
    """The stage's process and its two children, and its scratch folder."""
    deadline = time.monotonic() + 60  # the machine may be busy
    while not path.exists():
        assert time.monotonic() < deadline, "the stage did not start"
        time.sleep(0.05)
    started = json.loads(path.read_text())
    return started["pids"], Path(started["scratch"])


def wait_until_gone(pids: list[int], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.05)


@pytest.mark.parametrize(("behaviour", "code"), [("bad input", 2), ("unavailable", 75), ("crash", 1), ("junk", 0)])
def test_the_exit_code_is_the_stages_own(fake_stages, behaviour, code):
    fake_stages(clean=behaviour)
    assert run_to_the_end()[1] == code


def test_long_lines_and_bytes_that_are_no_text_come_through_as_lines(fake_stages):
    fake_stages(clean="junk")
    lines, _ = run_to_the_end()
    assert lines[0] == "x" * LINE_LIMIT + f" ... ({(1 << 20) - LINE_LIMIT} bytes more)"
    assert lines[1].isprintable()
    assert lines[1].endswith("[31mred")
    assert lines[2] == '{"a": 1}'
    assert lines[-1] == "last"


def test_a_cancelled_stage_ends_with_all_its_children_and_its_scratch_folder(fake_stages, tmp_path):
    fake_stages(clean="hang")
    runtime = ProcessRuntime()
    run = runtime.submit(job())
    pids, scratch = wait_for_pids(tmp_path / "pids.json")
    assert code_of(runtime.status(run)) is None
    runtime.cancel(run)
    assert list(runtime.logs(run)) == []
    assert code_of(runtime.clean(run)) == 128 + signal.SIGTERM
    wait_until_gone(pids, 1)
    assert not scratch.exists()


@pytest.mark.parametrize("victim", ["stage", "guard"])
def test_a_stage_that_is_killed_leaves_nothing(fake_stages, tmp_path, victim):
    fake_stages(clean="hang")
    runtime = ProcessRuntime()
    run = runtime.submit(job())
    pids, scratch = wait_for_pids(tmp_path / "pids.json")
    os.kill(pids[0] if victim == "stage" else int(run), signal.SIGKILL)
    list(runtime.logs(run))
    assert code_of(runtime.clean(run)) == 128 + signal.SIGKILL
    if victim == "stage":
        wait_until_gone(pids, 1)
        assert not scratch.exists()
    else:
        wait_until_gone(pids[:2], 1)
        psutil.Process(pids[2]).kill()  # in a session of its own and nobody left to know it: what stages do not do


TASK = """
    import sys, time
    sys.path.insert(0, sys.argv[1])
    from sim2edge_airflow.runtimes.process_runtime import ProcessRuntime
    from sim2edge_airflow.runtimes.runtime import StageJob
    from sim2edge_airflow.runtimes.stage_settings import StageSettings
    runtime = ProcessRuntime()
    run = runtime.submit(StageJob("clean", ["clean"], {}, deadline_s=600, settings=StageSettings()))
    for line in runtime.logs(run):
        pass
"""


def test_a_stage_does_not_outlive_a_task_that_is_killed(fake_stages, tmp_path):
    fake_stages(clean="hang")
    task = subprocess.Popen([sys.executable, "-c", textwrap.dedent(TASK), str(PLUGINS)])
    pids, scratch = wait_for_pids(tmp_path / "pids.json")
    task.kill()
    task.wait()
    wait_until_gone(pids)
    deadline = time.monotonic() + 5
    while scratch.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_task_whose_worker_is_killed_ends_its_stage(fake_stages, tmp_path):
    fake_stages(clean="hang")
    worker = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {textwrap.dedent(TASK)!r}, {str(PLUGINS)!r}])"
    )
    process = subprocess.Popen([sys.executable, "-c", worker], stderr=subprocess.DEVNULL)
    pids, _ = wait_for_pids(tmp_path / "pids.json")
    task = psutil.Process(process.pid).children()[0]
    process.kill()
    process.wait()
    wait_until_gone([*pids, task.pid])


def test_a_stage_gets_the_environment_but_not_airflows_own_keys(fake_stages, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)
    monkeypatch.setenv("SOME_SETTING", "y")
    fake_stages(clean="print environment")
    names = json.loads(run_to_the_end()[0][0])
    assert "SOME_SETTING" in names
    assert not [name for name in names if name.startswith("AIRFLOW")]


def test_a_stage_gets_its_own_credentials_and_not_its_workers():
    worker = {"_AIRFLOW_X": "1", "PATH": "/bin", "AWS_ACCESS_KEY_ID": "worker", "AWS_SESSION_TOKEN": "worker"}
    own = {"AWS_ACCESS_KEY_ID": "stage", "AWS_SECRET_ACCESS_KEY": "stage's"}
    assert stage_environment(worker, job(secrets=own)) == {**own, "PATH": "/bin", "PYTHONUNBUFFERED": "1"}


def test_an_interpreter_that_is_missing_is_said_so(monkeypatch):
    monkeypatch.setenv("SIM2EDGE_STAGE_PYTHON", "/nowhere/python")
    with pytest.raises(BadInput, match="SIM2EDGE_STAGE_PYTHON '/nowhere/python'"):
        ProcessRuntime().submit(job())


def test_an_unknown_runtime_is_said_so():
    with pytest.raises(BadInput, match=r"runtime 'podman' is not one of: process, docker, kubernetes"):
        make_runtime("podman")


@given(st.lists(st.binary(max_size=40)))
def test_lines_do_not_depend_on_how_the_bytes_arrive(chunks):
    reader = LineReader()
    lines = [line for chunk in chunks for line in reader.feed(chunk)] + list(reader.end())
    whole = LineReader()
    assert lines == list(whole.feed(b"".join(chunks))) + list(whole.end())
    assert all(char.isprintable() or char == "\t" for line in lines for char in line)
