"""The pods of all seven stages, checked offline against the schemas that Kubernetes publishes of its API."""

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
from kubernetes.client import ApiClient
from kubernetes.client.models import V1Pod

from sim2edge.stages import get_stage, stage_names
from sim2edge_airflow.runtimes.pod_spec import build_pod, literal, pod_status, selector
from sim2edge_airflow.runtimes.runtime import StageJob
from sim2edge_airflow.runtimes.stage_settings import read_stage_settings

VERSIONS = ("1.30", "1.32", "1.34", "1.37")
"""The oldest that the checked Helm chart supports to the newest schema at hand."""
LABEL_LENGTH = 63
GPU = """
train:
  image: registry.example/sim2edge/train@sha256:0000
  gpus: 2
  cpus: 0.5
  kubernetes:
    pull_secret: registry
    node_selector: {pool: gpu}
    tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}, {key: spot, value: "true"}]
"""
SECRET = "wJalrXUtnFEMI"


def make_job(stage: str, tmp_path: Any, settings: str = "", **changes: Any) -> StageJob:
    path = tmp_path / "stages.yaml"
    path.write_text(settings)
    labels = {
        "deployment": "sim2edge",
        "stage": stage,
        "dag": "train_model",
        "run": "asset_triggered__2026-01-02T03:04:05.678901+00:00_AbCdEfGh" + "x" * 30,
        "task": stage,
        "map_index": "-1",
        "try": "2",
        "artifact": "model/demo-1/3f2a9c0d11e4b7a6",
    }
    job = StageJob(
        stage=stage,
        arguments=[stage, "--partition=demo-1", "note=$(HOME) costs $5"],
        labels=labels,
        deadline_s=3600,
        settings=read_stage_settings(path, stage, "0.1.0"),
        environment={"SIM2EDGE_BUCKET": "sim2edge", "AWS_ENDPOINT_URL": "https://s3.example"},
        secrets={"AWS_SECRET_ACCESS_KEY": SECRET},
        signs=get_stage(stage).signs,
        keys={"targets-01234567.pem": SECRET.encode()},
    )
    return replace(job, **changes)


def make_manifest(stage: str, tmp_path: Any, settings: str = "", **changes: Any) -> dict[str, Any]:
    return ApiClient().sanitize_for_serialization(build_pod(make_job(stage, tmp_path, settings, **changes)))


def check(manifest: dict[str, Any], version: str = "1.34") -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stage", stage_names())
def test_every_stages_pod_is_what_the_api_takes(stage, version, tmp_path):
    check(make_manifest(stage, tmp_path), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_so_is_one_for_a_gpu_node_with_taints_and_a_private_registry(version, tmp_path):
    manifest = make_manifest("train", tmp_path, GPU)
    check(manifest, version)
    spec = manifest["spec"]
    resources = spec["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"]
    assert resources["limits"].items() >= {"nvidia.com/gpu": "2", "cpu": "500m", "memory": "2048Mi"}.items()
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert spec["tolerations"][0] == {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert spec["imagePullSecrets"] == [{"name": "registry"}]


def rename(parent: dict[str, Any], old: str, new: str) -> None:
    parent[new] = parent.pop(old)


MUTATIONS = {
    "a field that does not exist": lambda pod: pod["spec"].update(runtime="gvisor"),
    "a field in snake case": lambda pod: rename(pod["spec"], "restartPolicy", "restart_policy"),
    "a number as text": lambda pod: pod["spec"].update(activeDeadlineSeconds="3600"),
    "no containers": lambda pod: pod["spec"].pop("containers"),
    "a container without a name": lambda pod: pod["spec"]["containers"][0].pop("name"),
    "a variable as a mapping": lambda pod: pod["spec"]["containers"][0].update(env={"HOME": "/tmp"}),
    "a mount without a path": lambda pod: pod["spec"]["containers"][0]["volumeMounts"][0].pop("mountPath"),
    "a capability list that is a word": lambda pod: pod["spec"]["containers"][0]["securityContext"].update(
        capabilities={"drop": "ALL"}
    ),
    "a volume of two minds": lambda pod: pod["spec"]["volumes"][0].update(emptydir={}),
    "a label that is a number": lambda pod: pod["metadata"]["labels"].update({"sim2edge.try": [2]}),
    "a toleration with an unknown field": lambda pod: pod["spec"]["tolerations"].append({"kee": "gpu"}),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_check_finds_what_is_wrong(mutation, tmp_path):
    manifest = make_manifest("train", tmp_path, GPU)
    broken = copy.deepcopy(manifest)
    MUTATIONS[mutation](broken)
    with pytest.raises(kubernetes_validate.ValidationError):
        check(broken)


@pytest.mark.parametrize("stage", stage_names())
def test_a_pod_may_do_nothing_it_does_not_need(stage, tmp_path):
    spec = make_manifest(stage, tmp_path)["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"].items() >= {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001}.items()
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"].items() >= {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }.items()  # fmt: skip
    assert not {"hostNetwork", "hostPID", "hostIPC"} & {name for name, value in spec.items() if value}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["restartPolicy"] == "Never"
    assert all("hostPath" not in volume for volume in spec["volumes"])


@pytest.mark.parametrize("stage", stage_names())
def test_what_is_mounted_is_there(stage, tmp_path):  # the schema knows no references from one part to another
    spec = make_manifest(stage, tmp_path)["spec"]
    assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == {
        vol["name"] for vol in spec["volumes"]
    }


def test_what_is_writable_has_a_size(tmp_path):
    volumes = make_manifest("train", tmp_path, "train: {tmp_mb: 300, shm_mb: 1024}")["spec"]["volumes"]
    sizes = {volume["name"]: volume["emptyDir"] for volume in volumes if "emptyDir" in volume}
    assert sizes == {
        "tmp": {"medium": "Memory", "sizeLimit": "300Mi"},
        "shm": {"medium": "Memory", "sizeLimit": "1024Mi"},
        "scratch": {"sizeLimit": "20000M"},
    }


@pytest.mark.parametrize("stage", stage_names())
def test_credentials_are_the_clusters_and_no_pod_carries_any(stage, tmp_path):
    manifest = make_manifest(stage, tmp_path)
    assert SECRET not in repr(manifest)
    spec = manifest["spec"]
    named = {volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
    assert named == {f"sim2edge-{stage}"} | ({"sim2edge-keys"} if stage == "push" else set())
    variables = {variable["name"]: variable["value"] for variable in spec["containers"][0]["env"]}
    mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts[variables["SIM2EDGE_SECRETS_FILE"]]["subPath"] == "secrets.env"
    assert ("SIM2EDGE_KEYS" in variables) == (stage == "push")
    assert all(volume["secret"]["defaultMode"] == 0o440 for volume in spec["volumes"] if "secret" in volume)


def test_kubernetes_replaces_nothing_in_what_a_stage_is_told(tmp_path):
    container = make_manifest("train", tmp_path)["spec"]["containers"][0]
    assert container["args"][-1] == "note=$$(HOME) costs $$5"
    assert literal("plain") == "plain"


def test_a_stage_ends_itself_before_the_cluster_ends_it(tmp_path):
    spec = make_manifest("train", tmp_path)["spec"]
    command = spec["containers"][0]["command"]
    assert command == ["tini", "-g", "--", "timeout", "--signal=TERM", "--kill-after=30s", "3600s", "sim2edge"]
    assert spec["activeDeadlineSeconds"] >= 3600 + 900


def test_labels_are_plain_and_short_and_annotations_are_true(tmp_path):
    job = make_job("train", tmp_path)
    metadata = make_manifest("train", tmp_path)["metadata"]
    for name, value in metadata["labels"].items():
        assert len(value) <= LABEL_LENGTH, name
        assert (value[0] + value[-1]).isalnum()
        assert set(value) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert {name: metadata["annotations"][f"sim2edge.{name}"] for name in job.labels} == dict(job.labels)
    wanted = dict(word.split("=") for word in selector(job.owner).split(","))
    assert wanted.items() <= metadata["labels"].items()


def test_runs_that_differ_only_where_labels_are_cut_are_not_mixed_up(tmp_path):
    one = make_job("train", tmp_path)
    other = replace(one, labels={**one.labels, "run": one.labels["run"] + "y"})
    mapped = replace(one, labels={**one.labels, "map_index": "1"})
    assert len({selector(job.owner) for job in (one, other, mapped)}) == 3


def test_no_two_pods_share_a_name(tmp_path):
    names = {make_manifest("train", tmp_path)["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20


def shown(status: dict[str, Any], tmp_path: Any, **metadata: Any) -> V1Pod:
    """The pod of `train` as a cluster shows it later."""
    manifest = make_manifest("train", tmp_path)
    manifest["metadata"] |= metadata
    return ApiClient().deserialize(SimpleNamespace(data=json.dumps({**manifest, "status": status})), "V1Pod")


def ended(code: int, reason: str = "Error", minutes: float = 1) -> dict[str, Any]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = {"startedAt": start.isoformat(), "finishedAt": (start + timedelta(minutes=minutes)).isoformat()}
    state = {"terminated": {"exitCode": code, "reason": reason, **times}}
    status = {"name": "stage", "state": state, "ready": False, "restartCount": 0, "image": "", "imageID": ""}
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [status]}


@pytest.mark.parametrize(
    ("status", "code", "explanation"),
    [
        ({"phase": "Pending"}, None, ""),
        ({"phase": "Running"}, None, ""),
        (ended(0, "Completed"), 0, ""),
        (ended(2), 2, ""),
        (ended(3), 3, ""),
        (ended(137, "OOMKilled"), 137, "out of memory: its limit is 2048Mi"),
        (ended(124), 124, "ended at its deadline of 3600 s"),
        (ended(137, minutes=61), 124, "ended at its deadline of 3600 s"),
        (ended(137), 137, ""),
        ({"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active"}, 124, "deadline of 3600 s"),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on\nresource: memory."},
            137,
            "Evicted: The node was low on resource: memory.",
        ),
        ({**ended(137), "reason": "Preempting"}, 137, "Preempting"),
    ],
)
def test_how_a_pod_ended_is_said_as_the_contract_has_it(status, code, explanation, tmp_path):
    found = pod_status(shown(status, tmp_path))
    assert found.exit_code == code
    assert explanation in found.explanation
    assert bool(found.explanation) == bool(explanation)


def test_a_pod_that_should_long_be_gone_is_on_a_lost_node(tmp_path):
    leaving = datetime(2026, 1, 1, tzinfo=UTC)
    pod = shown({"phase": "Running"}, tmp_path, deletionTimestamp=leaving.isoformat())
    assert pod_status(pod, leaving + timedelta(seconds=30)).exit_code is None
    assert pod_status(pod, leaving + timedelta(minutes=5)).exit_code == 137
