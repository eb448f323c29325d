"""Stages in containers under Airflow's own scheduler: whatever is killed, marked, cleared or deleted, nothing is lost
and nothing is left. The stages are stand-ins; S3, engine, API server, scheduler and workers are real."""

import contextlib
import json
import os
import time
import urllib.parse
from collections.abc import Iterator

import pytest
from docker_stack import DockerStack, make_root, short_capture, wait_for
from forwarder import Forwarder

from sim2edge.errors import Unavailable
from sim2edge.stages import chain
from sim2edge_airflow.runtimes.container_spec import container_spec
from sim2edge_airflow.runtimes.runtime import StageJob
from sim2edge_airflow.runtimes.stage_settings import StageSettings

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]
DEPLOYMENT = os.environ["AIRFLOW__SIM2EDGE__DEPLOYMENT"]
DAGS = ("sim_capture", "data_cleaning", "retrain", "train_model", "release_model", "reap_containers", "short_capture")
FIRST = b"first line"


@pytest.fixture(scope="module")
def proxy() -> Iterator[Forwarder]:
    """Between Airflow and the engine, to be taken away."""
    with Forwarder("127.0.0.1", "/var/run/docker.sock") as forwarder:
        yield forwarder


@pytest.fixture(scope="module")
def airflow(tmp_path_factory, engine, stage_image, proxy) -> Iterator[DockerStack]:
    folder = tmp_path_factory.mktemp("scheduler")
    settings = {
        "runtime": "docker",
        "docker_network": "host",
        "deployment": DEPLOYMENT,
        "task_instance_heartbeat_timeout": "15",
        "task_instance_heartbeat_timeout_detection_interval": "3",
    }
    limits = {"all": {"image": stage_image, "cpus": 1, "memory_mb": 256, "pids": 64, "tmp_mb": 16}}
    root = make_root(folder / "root", settings, limits, {"short_capture_dag.py": short_capture(timeout_s=8)})
    before = dict(os.environ)
    os.environ["DOCKER_HOST"] = f"tcp://127.0.0.1:{proxy.port}"
    stack = DockerStack(folder / "stack", root, engine, DEPLOYMENT)
    try:
        stack.start()
        stack.wait_for_dags(DAGS)
        yield stack
    finally:
        stack.stop()
        os.environ.clear()
        os.environ.update(before)


def test_a_batch_goes_through_all_stages_each_in_a_container_of_its_own(airflow, engine):
    seen: set[str] = set()
    since = int(time.time())
    airflow.trigger("sim_capture", "b1")
    run = wait_for(lambda: [each["dag_run_id"] for each in airflow.client.runs("release_model", "b1")][:1], 300)[0]
    assert airflow.ended("release_model", run, "push")["state"] == "success"
    for event in engine.events(since=since, until=int(time.time()) + 1, decode=True, filters={"event": "start"}):
        labels = event["Actor"]["Attributes"]
        if labels.get("sim2edge.deployment") == DEPLOYMENT:
            seen.add(labels["sim2edge.stage"])
    assert seen == {stage.name for stage in chain()}
    assert "3/3  loss=0.3333" in airflow.log("release_model", run, "push")
    airflow.call("PATCH", "dags/data_cleaning", {"is_paused": True})  # the other tests are about one task


def test_neither_page_nor_log_nor_inspection_shows_a_secret_while_the_task_runs(airflow, behave, engine):
    behave(capture="wait")
    run = airflow.trigger("sim_capture", "b2")
    container = airflow.container(run, FIRST)
    shown = json.dumps(engine.api.inspect_container(container.id)) + json.dumps(engine.api.top(container.id))
    shown += json.dumps(airflow.task("sim_capture", run, "capture")) + airflow.log("sim_capture", run, "capture")
    behave.go()
    assert airflow.ended("sim_capture", run, "capture")["state"] == "success"
    shown += json.dumps(airflow.task("sim_capture", run, "capture")) + airflow.log("sim_capture", run, "capture")
    shown += "".join(path.read_text(errors="replace") for path in (airflow.home / "airflow" / "logs").rglob("*.log"))
    secrets = airflow.secrets()
    assert len(secrets) > 7, "those of every stage are looked for"
    assert not [secret for secret in secrets if secret in shown]


@pytest.mark.parametrize("victim", ["task", "worker", "both"])
def test_a_killed_task_or_worker_is_replaced_by_one_that_goes_on_with_the_container(airflow, behave, victim):
    behave(capture="wait")
    run = airflow.trigger("sim_capture", f"b3-{victim}")
    container = airflow.container(run, FIRST)
    task = airflow.task_process("sim_capture", run, "capture")
    worker = task.parent()
    for process in {"task": [task], "worker": [worker], "both": [worker, task]}[victim]:
        process.kill()
    wait_for(lambda: airflow.task("sim_capture", run, "capture")["try_number"] == 2, 90)
    wait_for(lambda: "Resuming" in airflow.log("sim_capture", run, "capture", attempt=2), 60)
    behave.go()
    assert airflow.ended("sim_capture", run, "capture")["state"] == "success"
    log = airflow.log("sim_capture", run, "capture", attempt=2)
    assert f"Resuming {container.id}" in log
    assert log.index("first line") < log.index("last line") < log.index("committed episodes/")
    assert airflow.containers(run) == []


def test_marking_a_task_failed_removes_its_container(airflow, behave):
    behave(capture="stubborn")
    run = airflow.trigger("sim_capture", "b4")
    airflow.container(run, FIRST)
    airflow.call("PATCH", airflow.instance_path("sim_capture", run, "capture"), {"new_state": "failed"})
    wait_for(lambda: not airflow.containers(run), 45)


def test_clearing_a_task_removes_its_container_and_starts_another(airflow, behave):
    behave(capture="wait")
    run = airflow.trigger("sim_capture", "b5")
    first = airflow.container(run, FIRST)
    body = {"dry_run": False, "task_ids": ["capture"], "dag_run_id": run, "only_failed": False, "only_running": True}
    airflow.call("POST", "dags/sim_capture/clearTaskInstances", body)
    wait_for(lambda: [each.id for each in airflow.containers(run)] not in ([first.id], []), 90)
    behave.go()
    assert airflow.ended("sim_capture", run, "capture")["state"] == "success"
    assert airflow.containers(run) == []


def test_a_succeeded_task_that_is_cleared_runs_again(airflow, behave):
    run = airflow.trigger("sim_capture", "b6")
    assert airflow.ended("sim_capture", run, "capture")["try_number"] == 1
    airflow.bus.delete(list(airflow.bus.list("episodes/b6")))
    behave()
    body = {"dry_run": False, "task_ids": ["capture"], "dag_run_id": run, "only_failed": False}
    airflow.call("POST", "dags/sim_capture/clearTaskInstances", body)
    wait_for(lambda: airflow.task("sim_capture", run, "capture")["try_number"] == 2, 120)
    assert airflow.ended("sim_capture", run, "capture")["state"] == "success"
    assert list(airflow.bus.list("episodes/b6")), "it did not take the first run's word for it"


def test_deleting_a_run_removes_its_container(airflow, behave):
    """Airflow deletes no run that is under way: it is marked failed first, and deleted before its task has noticed."""
    behave(capture="wait")
    run = airflow.trigger("sim_capture", "b7")
    airflow.container(run, FIRST)
    path = f"dags/sim_capture/dagRuns/{urllib.parse.quote(run, safe='')}"
    airflow.call("PATCH", path, {"state": "failed"})
    with contextlib.suppress(Unavailable):  # the answer is empty
        airflow.call("DELETE", path)
    assert run not in [each["dag_run_id"] for each in airflow.client.runs("sim_capture", "b7")]
    wait_for(lambda: not airflow.containers(run), 45)


def test_a_task_that_takes_too_long_ends_with_its_container_and_is_retried(airflow, behave):
    behave(capture="wait")
    run = airflow.trigger("short_capture", "b8")
    first = airflow.container(run, FIRST)
    wait_for(lambda: [each.id for each in airflow.containers(run)] not in ([first.id], []), 120)
    behave.go()
    ended = airflow.ended("short_capture", run, "capture")
    assert (ended["state"], ended["try_number"]) == ("success", 2)
    assert airflow.containers(run) == []


def test_an_engine_that_goes_away_for_a_while_ends_no_task(airflow, behave, proxy):
    behave(capture="wait")
    run = airflow.trigger("sim_capture", "b9")
    airflow.container(run, FIRST)
    proxy.close()
    wait_for(lambda: "Waiting: the Docker engine does not answer" in airflow.log("sim_capture", run, "capture"), 30)
    behave.go()
    time.sleep(2)
    proxy.open()
    ended = airflow.ended("sim_capture", run, "capture")
    assert (ended["state"], ended["try_number"]) == ("success", 1)
    log = airflow.log("sim_capture", run, "capture")
    assert log.count("first line") == 1
    assert log.index("first line") < log.index("last line")


def test_an_engine_that_is_not_there_is_said_and_tried_again(airflow, behave, proxy):
    behave()
    proxy.close()
    run = airflow.trigger("sim_capture", "b10")
    wait_for(lambda: airflow.task("sim_capture", run, "capture")["state"] == "up_for_retry", 60)
    proxy.open()
    assert airflow.ended("sim_capture", run, "capture")["state"] == "success"
    assert "the Docker engine does not answer at tcp://127.0.0.1" in airflow.log("sim_capture", run, "capture")


def test_a_scheduler_that_is_killed_loses_no_container_and_no_work(airflow, behave, engine):
    """Its workers die with it; meanwhile, a container of nobody grows old enough for the reaper."""
    orphan = start_orphan(engine, stage_image=airflow_image(airflow))
    behave(capture="wait")
    run = airflow.trigger("sim_capture", "b11")
    airflow.container(run, FIRST)
    scheduler = airflow.process("airflow-scheduler")
    for process in [scheduler, *scheduler.children(recursive=True)]:
        with contextlib.suppress(Exception):
            process.kill()
    wait_for(lambda: airflow.task("sim_capture", run, "capture")["try_number"] == 2, 120)
    behave.go()
    assert airflow.ended("sim_capture", run, "capture")["state"] == "success"
    assert [each.id for each in airflow.containers()] == [orphan]
    check_reaper(airflow, orphan)


def start_orphan(engine, stage_image: str) -> str:
    """A container whose DAG run there never was."""
    owner = {"deployment": DEPLOYMENT, "dag": "sim_capture", "run": "deleted", "task": "capture", "map_index": "-1"}
    labels = {**owner, "stage": "capture", "try": "1", "artifact": "episodes/b/1"}
    job = StageJob("capture", ["capture"], labels, deadline_s=300, settings=StageSettings(image=stage_image))
    spec = {**container_spec(job, stage_image, "none"), "Entrypoint": ["sleep"], "Cmd": ["300"]}
    orphan = engine.api.create_container_from_config(spec)["Id"]
    engine.api.start(orphan)
    return str(orphan)


def airflow_image(airflow: DockerStack) -> str:
    return str(json.loads((airflow.stack.settings.root / "containers" / "stages.yaml").read_text())["all"]["image"])


def check_reaper(airflow: DockerStack, orphan: str) -> None:
    """The reaper says what it would remove, and why; then removes it."""
    (found,) = airflow.containers()
    time.sleep(max(0.0, 62 - age_of(found)))
    dry = airflow.trigger_plain("reap_containers", dry_run=True)
    assert airflow.ended("reap_containers", dry, "reap")["state"] == "success"
    said = (
        f"would remove {orphan[:12]} (running, sim_capture/deleted/capture, try 1, episodes/b/1): its DAG run is gone"
    )
    assert said in airflow.log("reap_containers", dry, "reap")
    real = airflow.trigger_plain("reap_containers")
    assert airflow.ended("reap_containers", real, "reap")["state"] == "success"
    assert airflow.containers() == []


def age_of(container) -> float:
    from datetime import datetime

    return time.time() - datetime.fromisoformat(container.attrs["Created"]).timestamp()
