"""Stages as containers of a real engine: what they may do, how they end, what of their log arrives, what is left."""

import json
import threading
import time

import pytest
from forwarder import Forwarder

from sim2edge_airflow.operators.stage_output import StageOutput
from sim2edge_airflow.runtimes.container_spec import LABEL, SECRETS_FILE
from sim2edge_airflow.runtimes.docker_runtime import DockerRuntime
from sim2edge_airflow.runtimes.runtime import RunStatus, StageJob

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("network", "bus")]


def run_to_the_end(job: StageJob) -> tuple[list[str], RunStatus]:
    runtime = DockerRuntime()
    run = runtime.submit(job)
    lines = list(runtime.logs(run))
    status = runtime.clean(run)
    assert status
    return lines, status


def messages(lines: list[str]) -> list[str]:
    """What a stage says in its events, and whatever else it prints."""
    return [json.loads(line).get("message", "") if line.startswith("{") else line for line in lines]


def test_a_stage_commits_and_its_container_is_gone(bus, make_job, partition):
    lines, status = run_to_the_end(make_job())
    assert status == RunStatus(0)
    (manifest,) = bus.manifests("episodes", partition)
    assert manifest.reference in lines[-1]


def test_a_container_is_shut_in_and_its_secrets_are_its_own(behave, make_job, s3_server, stage_image):
    behave(capture="look around")
    lines, _ = run_to_the_end(make_job(keys={"root.json": b"{}", "targets-1.pem": b"key"}))
    seen = json.loads(messages(lines)[-1].removeprefix("seen "))
    assert seen["uid"] == [10001, 10001]
    assert {int(mask, 16) for mask in seen["capabilities"]} == {0}
    assert seen["no_new_privileges"] == "1"
    assert seen["writable"] == ["/tmp", "/scratch"]
    assert seen["secrets"] == {
        SECRETS_FILE: ["0o400", 10001],
        "/run/sim2edge/keys/root.json": ["0o400", 10001],
        "/run/sim2edge/keys/targets-1.pem": ["0o400", 10001],
    }
    assert s3_server.secret_key not in json.dumps([seen["environment"], seen["commands"]])
    assert seen["environment"]["SIM2EDGE_IMAGE"].startswith("sha256:")
    first = next(command for command in seen["commands"] if "docker-init" in command[0])
    assert first[2:8] == ["timeout", "--signal=TERM", "--kill-after=30s", "120s", "sim2edge", "capture"]


@pytest.mark.parametrize(("behaviour", "code"), [("bad input", 2), ("refuse", 3), ("crash", 1), ("junk", 0)])
def test_the_exit_code_is_the_stages_own(behave, make_job, behaviour, code):
    behave(capture=behaviour)
    assert run_to_the_end(make_job())[1].exit_code == code


@pytest.mark.parametrize("behaviour", ["hog", "hog in child"])
def test_out_of_memory_is_said_with_the_limit(behave, make_job, behaviour):
    behave(capture=behaviour)
    _, status = run_to_the_end(make_job(memory_mb=96))
    assert status.exit_code == (137 if behaviour == "hog" else 1)
    assert status.explanation == "out of memory: limit 96 MB (containers/stages.yaml, capture.memory_mb)"


@pytest.mark.parametrize(("limit", "said"), [({"pids": 16}, "processes: Resource temporarily"), ({}, "No space left")])
def test_processes_and_tmp_are_limited(behave, make_job, limit, said):
    behave(capture="breed" if limit else "fill")
    lines, status = run_to_the_end(make_job(**limit))
    assert status.exit_code == 1
    assert said in messages(lines)[-1]


def test_a_stage_without_a_task_ends_at_its_deadline(behave, make_job):
    behave(capture="wait")
    lines, status = run_to_the_end(make_job(deadline_s=2))
    assert messages(lines) == ["first line"]
    assert (status.exit_code, status.explanation) == (124, "it exceeded its deadline in the container, 2 s")


def test_every_line_arrives_in_order_from_the_first(behave, make_job):
    behave(capture="talk")
    said = messages(run_to_the_end(make_job())[0])
    assert [line for line in said if line.startswith("number")] == [f"number {number}" for number in range(300)]
    assert [line for line in said if line.startswith("error")] == [f"error {number}" for number in range(300)]


def test_long_lines_and_bytes_that_are_no_text_come_through_as_lines(behave, make_job):
    behave(capture="junk")
    lines, _ = run_to_the_end(make_job())
    assert lines[0].startswith("xxxx")
    assert "bytes more)" in lines[0]
    assert lines[1].endswith("[31mred")
    assert lines[2] == '{"a": 1}'
    assert lines[-1] == "last"


def test_lines_come_as_they_are_printed(behave, make_job):
    behave(capture="wait")
    runtime = DockerRuntime()
    run = runtime.submit(make_job())
    lines = runtime.logs(run)
    assert "first line" in next(lines)
    assert runtime.status(run) == RunStatus(None)
    behave.go()
    assert "last line" in next(lines)
    list(lines)
    assert runtime.clean(run) == RunStatus(0)
    assert runtime.clean(run) is None, "it may be cleaned again"


def test_a_log_whose_connection_breaks_loses_nothing_and_repeats_nothing(behave, make_job, monkeypatch, caplog):
    behave(capture="talk")
    with Forwarder("127.0.0.1", "/var/run/docker.sock") as proxy:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{proxy.port}")
        runtime = DockerRuntime()
        run = runtime.submit(make_job())
        stop = threading.Event()

        def disturb() -> None:
            while not stop.wait(0.4):
                proxy.cut()

        threading.Thread(target=disturb, daemon=True).start()
        said = messages(list(runtime.logs(run)))
        stop.set()
        time.sleep(0.5)
        assert runtime.clean(run) == RunStatus(0)
    assert caplog.text.count("broke off") > 3
    assert [line for line in said if line.startswith("number")] == [f"number {number}" for number in range(300)]
    assert [line for line in said if line.startswith("error")] == [f"error {number}" for number in range(300)]


@pytest.mark.parametrize("behaviour", ["wait", "stubborn"])
def test_a_cancelled_stage_is_gone_in_seconds_however_stubborn(behave, make_job, behaviour):
    behave(capture=behaviour)
    runtime = DockerRuntime()
    run = runtime.submit(make_job())
    lines = runtime.logs(run)
    next(lines)
    began = time.monotonic()
    runtime.cancel(run)
    assert time.monotonic() - began < 4.8, "Airflow kills the task after 5 s"
    assert list(lines) == []
    assert runtime.status(run) is None
    runtime.cancel(run)
    assert runtime.clean(run) is None


def test_another_try_finds_the_run_and_its_whole_log(behave, make_job):
    behave(capture="wait")
    first, job = DockerRuntime(), make_job()
    run = first.submit(job)
    next(first.logs(run))
    again = DockerRuntime()
    assert again.find(job) == run
    behave.go()
    said = messages(list(again.logs(run)))
    assert said[0] == "first line"
    assert "last line" in said
    assert again.clean(run) == RunStatus(0)
    assert again.find(job) is None


def test_another_try_finds_a_run_that_ended_well_and_not_one_that_crashed(behave, make_job, engine):
    runtime, job = DockerRuntime(), make_job()
    run = runtime.submit(job)
    engine.containers.get(run).wait()
    assert DockerRuntime().find(job) == run
    runtime.clean(run)
    behave(capture="crash")
    run = runtime.submit(job)
    engine.containers.get(run).wait()
    assert DockerRuntime().find(job) is None
    assert runtime.status(run) is None, "and it is removed"


def test_a_run_for_another_artifact_is_removed_and_that_of_another_task_is_not(behave, make_job):
    behave(capture="wait")
    runtime = DockerRuntime()
    run, other = runtime.submit(make_job("a")), runtime.submit(make_job("a", run="another run"))
    assert runtime.find(make_job("b")) is None
    assert runtime.status(run) is None
    assert runtime.status(other) == RunStatus(None)
    runtime.clean(other)


def test_a_container_that_was_never_started_is_removed(make_job, engine, stage_image):
    from sim2edge_airflow.runtimes.container_spec import container_spec

    job = make_job()
    made = engine.api.create_container_from_config(container_spec(job, stage_image, "none"))["Id"]
    runtime = DockerRuntime()
    assert runtime.find(job) is None
    assert runtime.status(made) is None


def test_a_container_that_somebody_removes_is_missed(behave, make_job, engine):
    behave(capture="wait")
    runtime = DockerRuntime()
    run = runtime.submit(make_job())
    lines = runtime.logs(run)
    next(lines)
    engine.containers.get(run).remove(force=True, v=True)
    assert list(lines) == []
    assert runtime.clean(run) is None


def test_inspection_of_a_running_container_shows_labels_and_no_secret(behave, make_job, engine, s3_server):
    behave(capture="wait")
    runtime, job = DockerRuntime(), make_job(keys={"targets-1.pem": b"signing key"})
    run = runtime.submit(job)
    shown = engine.api.inspect_container(run)
    everything = json.dumps([shown, engine.api.top(run), engine.api.inspect_volume(shown["Mounts"][0]["Name"])])
    assert s3_server.secret_key not in everything
    assert s3_server.access_key not in everything
    assert "signing key" not in everything
    assert s3_server.secret_key not in repr(job)
    labels = {LABEL + name: value for name, value in job.labels.items()}
    assert labels.items() <= shown["Config"]["Labels"].items()
    assert runtime.clean(run) is None, "it ran, so it was ended"


def test_progress_becomes_readable_lines(make_job):
    heard: list[str] = []

    class Log:
        info = error = warning = staticmethod(heard.append)

    output = StageOutput(Log(), clock=lambda: 0.0)
    for line in run_to_the_end(make_job())[0]:
        output.hear(line)
    assert "3/3  loss=0.3333" in heard
    assert output.committed
