"""All that Airflow asks of the engine passes the filter that stands before it in a deployment."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sim2edge.errors import BadInput, Unavailable
from sim2edge.services.loopback import free_ports
from sim2edge_airflow.runtimes.docker_engine import connect
from sim2edge_airflow.runtimes.docker_runtime import DockerRuntime
from sim2edge_airflow.runtimes.runtime import RunStatus

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("bus")]


@pytest.fixture(autouse=True)
def proxy(monkeypatch, network, stage_image) -> Iterator[None]:
    """The filter of this deployment between the tests and the engine."""
    (port,) = free_ports(1)
    deployment, name = os.environ["AIRFLOW__SIM2EDGE__DEPLOYMENT"], os.environ["AIRFLOW__SIM2EDGE__DOCKER_NETWORK"]
    command = [sys.executable, "-m", "sim2edge", "engine-proxy", "--listen", f"127.0.0.1:{port}"]
    options = ["--deployment", deployment, "--network", name, "--image-prefix", stage_image.partition(":")[0]]
    process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    until = time.monotonic() + 30
    while True:
        try:
            connect()
            break
        except Unavailable:
            assert time.monotonic() < until
            time.sleep(0.1)
    yield
    process.terminate()
    process.wait()


def test_a_stage_runs_is_found_again_and_is_removed(behave, make_job):
    behave(capture="wait")
    runtime, job = DockerRuntime(), make_job(keys={"root.json": b"{}"})
    run = runtime.submit(job)
    lines = runtime.logs(run)
    assert "first line" in next(lines), "as it is printed"
    assert DockerRuntime().find(job) == run
    behave.go()
    assert "last line" in next(lines)
    list(lines)
    assert runtime.clean(run) == RunStatus(0)


def test_a_stage_is_ended(behave, make_job):
    behave(capture="stubborn")
    runtime = DockerRuntime()
    run = runtime.submit(make_job())
    next(runtime.logs(run))
    runtime.cancel(run)
    assert runtime.status(run) is None


def test_a_missing_image_and_a_refusal_are_said_in_one_line(make_job):
    with pytest.raises((BadInput, Unavailable)) as caught:
        DockerRuntime().submit(make_job(image="elsewhere/tool:1"))
    assert "elsewhere/tool:1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_reaper_finds_what_nobody_owns(behave, make_job, monkeypatch):
    from sim2edge_airflow.runtimes import container_reaper

    behave(capture="wait")
    DockerRuntime().submit(make_job())
    monkeypatch.setattr(container_reaper, "GRACE_S", 0)
    (said,) = container_reaper.reap(lambda dag, runs: {})
    assert json.dumps("its DAG run is gone")[1:-1] in said
