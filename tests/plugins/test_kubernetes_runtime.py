"""Stages as pods: the real runtime, the real provider and the real Kubernetes client, against a stand-in for a cluster.

No cluster runs in these tests: `kubernetes_cluster.py` says what stands for it, what it checks, and what it does not.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml
from kubernetes_cluster import Cluster, Pod

from sim2edge.errors import BadInput, Unavailable
from sim2edge.secrets_file import format_secrets
from sim2edge.stages import chain, stage_names
from sim2edge_airflow.runtimes import kubernetes_runtime
from sim2edge_airflow.runtimes.kubernetes_runtime import KubernetesRuntime
from sim2edge_airflow.runtimes.runtime import Orphaned, RunStatus, StageJob
from sim2edge_airflow.runtimes.stage_settings import read_stage_settings

FAKE_STAGE = Path(__file__).with_name("fake_stage.py")
PROGRAM = """#!/bin/sh
export FAKE_STAGE={behaviours} FAKE_PIDS={folder}/pids.json SIM2EDGE_CONF={folder}
exec {python} -m sim2edge.secrets_file -- {python} {fake_stage} -m sim2edge "$@"
"""


@pytest.fixture
def cluster(tmp_path, fake_stages, s3_server, monkeypatch) -> Iterator[Cluster]:
    """A cluster whose images hold `fake_stage.py`, with the stages' Secrets; the worker itself has none of them."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "demo.yaml").write_text("{}")
    program = programs / "sim2edge"
    program.write_text(
        PROGRAM.format(
            behaviours=tmp_path / "behaviours.json", folder=tmp_path, python=sys.executable, fake_stage=FAKE_STAGE
        )
    )
    program.chmod(0o755)
    cluster = Cluster(tmp_path, programs)
    credentials = {"AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key}
    for stage in stage_names():
        cluster.secrets[f"sim2edge-{stage}"] = {"secrets.env": format_secrets(credentials)}
    cluster.secrets["sim2edge-keys"] = {"root.json": "{}"}
    extra = json.dumps({"conn_type": "kubernetes", "extra": {"kube_config_path": str(cluster.kubeconfig)}})
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", extra)
    monkeypatch.setattr(kubernetes_runtime, "EVENTS_S", 0.3)
    with cluster:
        yield cluster


@pytest.fixture
def runtime(cluster) -> KubernetesRuntime:
    return KubernetesRuntime()


@pytest.fixture
def job(tmp_path, s3_server, partition) -> StageJob:
    """One `capture` of a batch of its own."""
    path = tmp_path / "stages.yaml"
    path.write_text("")
    owner = {"deployment": "test", "dag": "sim_capture", "run": f"manual__{partition}", "task": "capture"}
    labels = {**owner, "stage": "capture", "map_index": "-1", "try": "1", "artifact": f"episodes/{partition}/0123"}
    return StageJob(
        stage="capture",
        arguments=["capture", f"--partition={partition}", "--preset=demo"],
        labels=labels,
        deadline_s=60,
        settings=read_stage_settings(path, "capture", "0.1.0"),
        environment={"SIM2EDGE_BUCKET": s3_server.bucket, "AWS_ENDPOINT_URL": s3_server.endpoint, "AWS_REGION": "x"},
    )


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.05)
    return found


def only_pod(cluster: Cluster) -> Pod:
    (pod,) = cluster.pods.values()
    return pod


def said(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_a_stage_runs_with_what_its_pod_says_and_leaves_nothing(cluster, runtime, job, s3):
    run = runtime.submit(job)
    events = said(list(runtime.logs(run)))
    assert [event["done"] for event in events if event["event"] == "progress"] == [1, 2, 3]
    assert s3.open(events[-1]["reference"]).kind == "episodes"
    assert runtime.clean(run) == RunStatus(0)
    assert cluster.pods == {}
    assert runtime.status(run) is None
    assert runtime.clean(run) is None


def test_a_stage_gets_its_credentials_from_the_cluster_alone(cluster, runtime, job, s3_server):
    runtime.clean(runtime.submit(replace(job, secrets={"AWS_SECRET_ACCESS_KEY": "of the worker"})))
    assert s3_server.secret_key not in json.dumps(cluster.made)
    assert "of the worker" not in json.dumps(cluster.made)


@pytest.mark.parametrize(
    ("behaviour", "code", "complaint"),
    [("bad input", 2, "input should be greater"), ("refuse", 3, "refused: floor"), ("crash", 1, "ValueError")],
)
def test_a_stage_that_ends_badly_says_so_by_its_code(cluster, runtime, job, fake_stages, behaviour, code, complaint):
    fake_stages(capture=behaviour)
    run = runtime.submit(job)
    assert complaint in "\n".join(runtime.logs(run))
    assert runtime.clean(run).exit_code == code


def test_a_line_comes_as_it_is_printed(cluster, runtime, job, fake_stages):
    fake_stages(capture="junk")
    run = runtime.submit(job)
    lines = list(runtime.logs(run))
    assert any(line.endswith("bytes more)") for line in lines)
    assert "�[31mred" in "".join(lines)
    assert lines[-1] == "last"


def test_no_line_is_lost_or_told_twice_when_the_connection_breaks(cluster, runtime, job):
    cluster.break_logs_after = 2
    run = runtime.submit(job)
    progress = [event["done"] for event in said(list(runtime.logs(run))) if event["event"] == "progress"]
    assert progress == [1, 2, 3]
    assert cluster.break_logs_after is None


def test_the_next_try_finds_the_pod_that_a_dead_worker_left(cluster, runtime, job, fake_stages):
    fake_stages(capture="hang")
    left = runtime.submit(job)
    wait_for(lambda: only_pod(cluster).process)
    again = replace(job, labels={**job.labels, "try": "2"})
    assert KubernetesRuntime().find(again) == left
    assert runtime.status(left) == RunStatus()


def test_it_finds_one_that_has_ended_meanwhile_with_all_it_said(cluster, runtime, job, fake_stages):
    fake_stages(capture="bad input")
    left = runtime.submit(job)
    only_pod(cluster).done.wait(20)
    later = KubernetesRuntime()
    assert later.find(job) == left
    assert "clean.width" in "\n".join(later.logs(left))
    assert later.clean(left) == RunStatus(2)


def test_a_pod_of_another_artifact_is_removed_and_one_of_another_run_is_not(cluster, runtime, job, fake_stages):
    fake_stages(capture="hang")
    stale = runtime.submit(job)
    foreign = runtime.submit(replace(job, labels={**job.labels, "run": "another"}))
    wait_for(lambda: all(pod.process for pod in cluster.pods.values()))
    assert runtime.find(replace(job, labels={**job.labels, "artifact": "episodes/other/4567"})) is None
    wait_for(lambda: len(cluster.pods) == 1)
    assert runtime.status(stale) is None
    assert runtime.status(foreign) == RunStatus()


def test_a_cancelled_stage_ends_with_all_its_children(cluster, runtime, job, fake_stages, tmp_path, monkeypatch):
    monkeypatch.setattr(kubernetes_runtime, "GRACE_S", 1)
    fake_stages(capture="hang")
    run = runtime.submit(job)
    pids = json.loads(wait_for(lambda: (path := tmp_path / "pids.json").exists() and path.read_text()))["pids"]
    start = time.monotonic()
    runtime.cancel(run)
    assert time.monotonic() - start < 5
    runtime.clean(run)
    assert cluster.pods == {}
    assert not psutil.pid_exists(pids[0])


def test_logs_end_when_somebody_deletes_the_pod(cluster, runtime, job, fake_stages):
    fake_stages(capture="hang")
    run = runtime.submit(job)
    process = wait_for(lambda: only_pod(cluster).process)
    threading.Timer(0.5, lambda: only_pod(cluster).delete(0)).start()
    list(runtime.logs(run))
    assert process.poll() is not None
    assert runtime.clean(run) is None


def test_out_of_memory_names_the_limit(cluster, runtime, job, fake_stages):
    fake_stages(capture="hang")
    run = runtime.submit(job)
    wait_for(lambda: only_pod(cluster).process)
    threading.Timer(0.5, lambda: only_pod(cluster).kill(out_of_memory=True)).start()
    list(runtime.logs(run))
    assert runtime.clean(run) == RunStatus(
        137, "out of memory: its limit is 2048Mi (memory_mb in containers/stages.yaml)"
    )


def test_the_deadline_holds_inside_the_pod(cluster, runtime, job, fake_stages):
    fake_stages(capture="hang")
    run = runtime.submit(replace(job, deadline_s=2))
    list(runtime.logs(run))
    assert runtime.clean(run) == RunStatus(124, "ended at its deadline of 2 s")


def test_a_pod_that_no_node_takes_says_why_and_is_given_up(cluster, runtime, job):
    cluster.unschedulable = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    limits = job.settings.model_copy(update={"kubernetes": job.settings.kubernetes.model_copy(update={"startup_s": 2})})
    run = runtime.submit(replace(job, settings=limits))
    lines = []
    with pytest.raises(Unavailable, match=r"did not start in 2 s: no node accepts it: 0/3 .* nvidia\.com/gpu\."):
        lines += runtime.logs(run)
    assert cluster.pods == {}


def test_an_image_that_is_not_there_is_not_waited_for(cluster, runtime, job):
    cluster.bad_image = True
    run = runtime.submit(job)
    with pytest.raises(BadInput, match=r'cannot start: Image cannot be pulled.*"sim2edge/capture:0\.1\.0" not found'):
        list(runtime.logs(run))


def test_a_missing_secret_is_named(cluster, runtime, job):
    del cluster.secrets["sim2edge-capture"]
    run = runtime.submit(job)
    with pytest.raises(BadInput, match=r"secret 'sim2edge-capture' not found"):
        list(runtime.logs(run))


def test_a_pod_made_by_a_request_whose_answer_was_lost_is_the_only_one(cluster, runtime, job):
    cluster.answers_lost = 1
    run = runtime.submit(job)
    list(runtime.logs(run))
    assert len(cluster.made) == 1
    assert runtime.clean(run) == RunStatus(0)


def test_a_cluster_that_cannot_answer_for_a_moment_is_asked_again(cluster, runtime, job):
    run = runtime.submit(job)
    cluster.failing = 3
    list(runtime.logs(run))
    cluster.failing = 2
    assert runtime.clean(run) == RunStatus(0)


def test_a_cluster_that_is_gone_is_said_to_be(cluster, runtime, job, monkeypatch):
    monkeypatch.setattr(kubernetes_runtime, "PATIENCE_S", 1)
    cluster.stop()
    with pytest.raises(Unavailable, match=r"^the cluster does not answer: .*refused"):
        runtime.submit(job)
    runtime.cancel("sim2edge/nothing")


@pytest.mark.parametrize(
    ("resource", "what"), [("pods", "a pod for capture"), ("pods/log", "the log of sim2edge/sim2edge-capture")]
)
def test_a_right_that_is_missing_is_named(cluster, runtime, job, resource, what):
    cluster.rules = [rule for rule in cluster.rules if rule["resources"] != [resource]]
    with pytest.raises(BadInput, match=rf"^the cluster refuses {what}.*: {resource} is forbidden: tasks cannot"):
        list(runtime.logs(runtime.submit(job)))


def test_a_namespace_that_is_missing_is_named(cluster, runtime, job):
    elsewhere = job.settings.kubernetes.model_copy(update={"namespace": "nowhere"})
    with pytest.raises(BadInput, match='namespaces "nowhere" not found'):
        runtime.submit(replace(job, settings=job.settings.model_copy(update={"kubernetes": elsewhere})))


def test_without_a_cluster_it_is_said_where_one_is_looked_for(monkeypatch, tmp_path):
    extra = json.dumps({"conn_type": "kubernetes", "extra": {"kube_config_path": str(tmp_path / "missing")}})
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", extra)
    named = rf"^connection 'kubernetes_default': extra.kube_config_path: no such file .*: {tmp_path}/missing$"
    with pytest.raises(BadInput, match=named):
        KubernetesRuntime()


@pytest.fixture
def connect_by(monkeypatch):
    """Make `lab_cluster` the connection; `connect_by(kube_config_path=...)` says what its extra is."""

    def make(**extra: object) -> None:
        monkeypatch.delenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", raising=False)
        monkeypatch.setenv("AIRFLOW__SIM2EDGE__KUBERNETES_CONN_ID", "lab_cluster")
        monkeypatch.setenv("AIRFLOW_CONN_LAB_CLUSTER", json.dumps({"conn_type": "kubernetes", "extra": extra}))

    return make


def test_a_cluster_may_be_in_the_connection_itself(cluster, job, connect_by, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    kube_config = yaml.safe_load(cluster.kubeconfig.read_text())
    connect_by(kube_config=json.dumps(kube_config))
    runtime = KubernetesRuntime()
    run = runtime.submit(job)
    assert list(runtime.logs(run))
    assert runtime.clean(run) == RunStatus(0)


def test_a_context_of_the_connection_is_taken(cluster, job, connect_by):
    content = yaml.safe_load(cluster.kubeconfig.read_text())
    content["current-context"] = "no-such"
    cluster.kubeconfig.write_text(yaml.safe_dump(content))
    connect_by(kube_config_path=str(cluster.kubeconfig), cluster_context="test")
    assert KubernetesRuntime().find(job) is None


def test_pods_run_in_the_connections_namespace_unless_the_stage_names_one(cluster, job, connect_by):
    connect_by(kube_config_path=str(cluster.kubeconfig), namespace="lab")
    with pytest.raises(BadInput, match='namespaces "lab" not found'):
        KubernetesRuntime().submit(job)
    with pytest.raises(BadInput, match='namespaces "lab" not found'):
        KubernetesRuntime().find(job)
    own = job.settings.kubernetes.model_copy(update={"namespace": "sim2edge"})
    placed = replace(job, settings=job.settings.model_copy(update={"kubernetes": own}))
    assert KubernetesRuntime().find(placed) is None


def test_a_connection_that_is_not_there_or_contradicts_itself_is_named(cluster, connect_by, monkeypatch):
    connect_by(kube_config_path=str(cluster.kubeconfig), kube_config="{}")
    with pytest.raises(BadInput, match=r"^connection 'lab_cluster': .*mutually exclusive"):
        KubernetesRuntime()
    connect_by(kube_config="users: [{token: a-secret")
    with pytest.raises(BadInput, match=r"^connection 'lab_cluster': its kube_config cannot be parsed") as caught:
        KubernetesRuntime()
    assert "a-secret" not in str(caught.value)
    monkeypatch.delenv("AIRFLOW_CONN_LAB_CLUSTER")
    with pytest.raises(
        Unavailable, match=r"^connection 'lab_cluster' \(\[sim2edge\] kubernetes_conn_id\) is not defined"
    ):
        KubernetesRuntime()


def test_an_abandoned_task_stops_listening_and_its_pod_goes_on(cluster, runtime, job, fake_stages, monkeypatch):
    fake_stages(capture="hang")
    run = runtime.submit(job)
    wait_for(lambda: only_pod(cluster).process)
    monkeypatch.setattr(runtime, "_supervisor", -1)
    with pytest.raises(Orphaned):
        list(runtime.logs(run))
    assert runtime.status(run) == RunStatus()


def test_the_reaper_removes_the_pods_that_no_task_owns(cluster, runtime, job, fake_stages, monkeypatch):
    from sim2edge_airflow.runtimes import container_reaper
    from sim2edge_airflow.runtimes.pod_reaper import reap_pods

    monkeypatch.setattr(container_reaper, "GRACE_S", 0)
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__RUNTIME", "kubernetes")
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__DEPLOYMENT", "test")
    fake_stages(capture="hang")
    running, gone, foreign = (
        runtime.submit(replace(job, labels={**job.labels, **labels}))
        for labels in ({"run": "a/1"}, {"run": "a/2"}, {"run": "a/2", "deployment": "another"})
    )
    wait_for(lambda: all(pod.process for pod in cluster.pods.values()))
    states = {"a/1": {"capture": "running"}, "a/2": {"capture": "failed"}}
    said = reap_pods(lambda dag, runs: {run: states[run] for run in runs}, dry_run=True)
    assert said == [f"would remove {gone} (running): its task has ended: failed"]
    assert len(cluster.pods) == 3
    reap_pods(lambda dag, runs: {run: states[run] for run in runs})
    assert runtime.clean(gone) is None or runtime.status(gone) is None
    assert runtime.status(running) == runtime.status(foreign) == RunStatus()


def test_the_rights_that_are_given_are_used(cluster, runtime, job):
    runtime.find(job)
    run = runtime.submit(job)
    list(runtime.logs(run))
    runtime.clean(run)
    used = {(verb, resource) for verb, resource in cluster.requests}
    given = {(verb, resource) for rule in cluster.rules for verb in rule["verbs"] for resource in rule["resources"]}
    assert used <= given
    assert given - used <= {("watch", "pods"), ("list", "events")}


def test_the_pipeline_runs_in_pods_by_one_setting(cluster, s3, partition, monkeypatch, tmp_path):
    """The operator as it is, from `capture` to `push`; the worker's own credentials are not what its stages use."""
    from airflow.sdk import Context
    from airflow.sdk.bases.operator import ExecutorSafeguard

    from sim2edge_airflow.operators.stage_operator import StageOperator

    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setenv("SIM2EDGE_CONF", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__RUNTIME", "kubernetes")
    s3.delete(s3.list("refs"))  # a dataset takes all batches there are, and is filed under the last of them
    made: dict[str, str] = {}
    inputs = {
        "train": {"dataset": "augment"},
        "validate": {"model": "train", "dataset": "augment"},
        "export": {"verdict": "validate", "model": "train", "dataset": "augment"},
        "push": {"release": "export"},
    }
    chain_names = [stage.name for stage in chain()]
    for stage in chain_names:
        names = {"dag_id": "dag", "run_id": "run", "task_id": stage, "map_index": -1, "try_number": 1}
        instance = SimpleNamespace(**names, stats_tags={}, xcom_push=lambda **_: None)
        context = Context(
            ti=instance,
            dag_run=SimpleNamespace(dag_id="dag", partition_key=partition, run_type="asset_triggered"),
            params={},
            triggering_asset_events={},
            outlet_events={},
            task_state_store=SimpleNamespace(get=lambda *_: None, set=lambda *_, **__: None),
        )
        named = {role: made[other] for role, other in inputs.get(stage, {}).items()}
        operator = StageOperator(stage=stage, execution_timeout=timedelta(minutes=2), inputs=named)
        made[stage] = operator.execute(context)
        assert s3.open(made[stage]).stage == stage
    assert [pod["metadata"]["labels"]["sim2edge.stage"] for pod in cluster.made] == chain_names
    assert cluster.pods == {}
