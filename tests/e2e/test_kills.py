"""Every stage killed in the middle, and the S3 server away: nothing half-written shows, the retry finishes."""

import os
import signal
import time

import psutil
import pytest

from sim2edge.stages import chain

CHAIN = [stage.name for stage in chain()]

pytestmark = pytest.mark.slow
CHANGED = {
    "capture": ["--partition", "killed-1"],
    "clean": ["jpeg_quality=91"],
    "augment": ["jpeg_quality=91"],
    "train": ["seed=1"],
    "validate": ["tolerance=0.03"],
    "export": ["tie=0.06"],
    "push": ["ring=stable"],
}
"""What makes each stage's artifact a new one."""


def wait_for_work(process, seconds=120.0) -> str:
    """The first line of progress a stage prints."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        line = process.stdout.readline()
        if '"progress"' in line or not line:
            return line
    raise TimeoutError


def family(process) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("stage", CHAIN)
def test_a_killed_stage_shows_nothing_and_its_retry_finishes(pipeline, stage):
    words = [*pipeline.words(stage), *CHANGED[stage]]
    before = {manifest.reference for manifest in pipeline.bus.manifests()}
    process = pipeline.start(*words)
    if stage == "push":  # too quick for progress: cut it anywhere
        time.sleep(1.0)
    else:
        wait_for_work(process)
    children = family(process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()

    visible = {manifest.reference for manifest in pipeline.bus.manifests()}
    assert len(visible - before) <= (1 if stage in ("push", "validate") else 0)
    _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive
    retried = pipeline.run(*words)
    assert retried.code == 0, retried.err
    assert len({manifest.reference for manifest in pipeline.bus.manifests()} - before) == 1


def test_training_goes_on_from_its_last_epoch(pipeline):
    words = [*pipeline.words("train"), "seed=2", "epochs=3"]
    process = pipeline.start(*words)
    while line := process.stdout.readline():
        if '"epoch": "2/3"' in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    retried = pipeline.run(*words)
    assert retried.code == 0, retried.err
    assert "resum" in retried.out
    assert '"epoch": "1/3"' not in retried.out


def check_sits_out(pipeline, setting, leave, come_back, seconds):
    """Check that a stage goes on after the server was away for so long."""
    process = pipeline.start(*pipeline.words("clean"), setting)
    wait_for_work(process)
    leave()
    try:
        time.sleep(seconds)
    finally:
        come_back()
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "committed" in out


def test_a_stage_sits_out_an_s3_server_that_is_away_for_20_seconds(pipeline, s3_server):
    server = psutil.Process(s3_server.pid)
    check_sits_out(pipeline, "jpeg_quality=90", server.suspend, server.resume, 20)


def test_a_stage_sits_out_an_s3_server_whose_port_refuses_for_25_seconds(pipeline_on_network):
    pipeline, network = pipeline_on_network
    check_sits_out(pipeline, "jpeg_quality=89", network.close, network.open, 25)
