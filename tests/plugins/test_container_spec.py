"""What a stage's container is, and what is shown of it: no engine is asked."""

import io
import json
import tarfile
from types import SimpleNamespace

import pytest
from docker.errors import APIError

from sim2edge.errors import BadInput, Unavailable
from sim2edge.secrets_file import parse_secrets
from sim2edge_airflow.runtimes.container_spec import container_spec, owner_filter, secret_files
from sim2edge_airflow.runtimes.docker_engine import (
    check_architecture,
    check_reachable,
    pull_error,
    registry_of,
    translate,
)
from sim2edge_airflow.runtimes.docker_runtime import choose_run, explain
from sim2edge_airflow.runtimes.runtime import StageJob
from sim2edge_airflow.runtimes.stage_settings import StageSettings

SECRETS = {"AWS_ACCESS_KEY_ID": "id-of-the-stage", "AWS_SECRET_ACCESS_KEY": "key-of-the-stage"}
KEYS = {"root.json": b"{}", "targets-1.pem": b"signing key"}
LABELS = {"deployment": "lab", "dag": "d", "run": "r", "task": "train", "map_index": "-1", "try": "2", "artifact": "a"}


def job(**settings: object) -> StageJob:
    return StageJob(
        stage="train",
        arguments=["train", "--partition=p"],
        labels=LABELS,
        deadline_s=660,
        settings=StageSettings.model_validate(
            {"image": "i", "cpus": 1.5, "memory_mb": 1024, "shm_mb": 128, **settings}
        ),
        environment={"SIM2EDGE_BUCKET": "b"},
        secrets=SECRETS,
        keys=KEYS,
    )


def test_a_container_may_do_little_and_take_what_its_stage_is_given():
    spec = container_spec(job(), "sha256:1", "net")
    assert (spec["User"], spec["Image"]) == ("10001:10001", "sha256:1")
    assert spec["Entrypoint"] == ["timeout", "--signal=TERM", "--kill-after=30s", "660s", "sim2edge"]
    assert spec["Cmd"] == ["train", "--partition=p"]
    assert set(spec["Volumes"]) == {"/scratch", "/run/sim2edge"}
    host = spec["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["Init"], host["ReadonlyRootfs"], host["NetworkMode"]) == (True, True, "net")
    assert host["Memory"] == host["MemorySwap"] == 1024 * 1024 * 1024
    assert (host["NanoCpus"], host["PidsLimit"], host["ShmSize"]) == (1_500_000_000, 512, 128 * 1024 * 1024)
    assert "Binds" not in host
    assert "Privileged" not in host


def test_gpus_are_asked_for_only_if_a_stage_has_some():
    assert "DeviceRequests" not in container_spec(job(), "i", "n")["HostConfig"]
    (request,) = container_spec(job(gpus=2), "i", "n")["HostConfig"]["DeviceRequests"]
    assert (request["Count"], request["Capabilities"]) == (2, [["gpu"]])


def test_no_secret_is_in_the_request_nor_in_what_a_job_shows():
    shown = json.dumps(container_spec(job(), "i", "n")) + repr(job())
    for secret in (*SECRETS.values(), "signing key"):
        assert secret not in shown


def test_secrets_and_keys_are_files_that_the_stage_alone_reads():
    with tarfile.open(fileobj=io.BytesIO(secret_files(job()))) as archive:
        assert archive.getnames() == ["secrets.env", "keys", "keys/root.json", "keys/targets-1.pem"]
        assert {(entry.uid, entry.gid) for entry in archive} == {(10001, 10001)}
        assert not [entry.name for entry in archive if entry.mode & 0o277 and entry.isfile()]
        assert parse_secrets(archive.extractfile("secrets.env").read().decode()) == SECRETS


def test_a_task_finds_its_containers_whatever_the_try_and_the_artifact():
    assert owner_filter(job().owner)["label"] == [
        "sim2edge.deployment=lab",
        "sim2edge.dag=d",
        "sim2edge.run=r",
        "sim2edge.task=train",
        "sim2edge.map_index=-1",
    ]


def inspection(identity: str = "c", artifact: str = "a", status: str = "exited", code: int = 0, **how: object) -> dict:
    labels = {"sim2edge.artifact": artifact, "sim2edge.stage": "train", "sim2edge.deadline_s": "660"}
    state = {"Status": status, "Running": status == "running", "ExitCode": code, "OOMKilled": False, "Error": ""}
    times = {"StartedAt": "2026-01-01T00:00:00.123456789Z", "FinishedAt": "2026-01-01T00:01:00Z"}
    memory = {"Memory": 2048 * 1024 * 1024}
    return {"Id": identity, "Config": {"Labels": labels}, "State": {**state, **times, **how}, "HostConfig": memory}


@pytest.mark.parametrize(
    ("states", "chosen"),
    [
        ([], None),
        ([inspection(status="running")], "c"),
        ([inspection(status="running", artifact="b")], None),
        ([inspection(status="created")], None),
        ([inspection(code=0)], "c"),
        ([inspection(code=3)], "c"),
        ([inspection(code=137)], None),
        ([inspection("new", code=1), inspection("old", status="running")], "old"),
    ],
)
def test_a_retry_goes_on_with_what_runs_or_has_a_verdict_for_the_same_artifact(states, chosen):
    assert choose_run(states, "a") == chosen


@pytest.mark.parametrize(
    ("code", "how", "said"),
    [
        (137, {"OOMKilled": True}, "out of memory: limit 2048 MB (containers/stages.yaml, train.memory_mb)"),
        (1, {"OOMKilled": True}, "out of memory: limit 2048 MB (containers/stages.yaml, train.memory_mb)"),
        (124, {}, "it exceeded its deadline in the container, 660 s"),
        (137, {"FinishedAt": "2026-01-01T00:11:31Z"}, "it exceeded its deadline in the container, 660 s"),
        (137, {}, "killed, but not by its task: by an operator, or with its engine"),
        (127, {}, "its image contains no stage (containers/stages.yaml, train.image)"),
        (1, {}, ""),
    ],
)
def test_an_end_is_explained_as_far_as_the_engine_knows(code, how, said):
    assert explain(code, inspection(code=code, **how)) == said


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("sim2edge/train:0.1.0", None),
        ("train", None),
        ("ghcr.io/lab/train:1", "ghcr.io"),
        ("localhost/train", "localhost"),
        ("registry:5000/train", "registry:5000"),
    ],
)
def test_a_name_with_a_registry_is_told_from_one_that_is_built_here(name, registry):
    assert registry_of(name) == registry


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('Get "https://r.io/v2/": dial tcp: lookup r.io: no such host', Unavailable),
        ("pull access denied for lab/train", BadInput),
        ("manifest unknown", BadInput),
    ],
)
def test_a_registry_that_does_not_answer_is_tried_again_and_one_that_refuses_is_not(said, kind):
    error = pull_error("r.io/lab/train:1", "r.io", "without a login", said)
    assert isinstance(error, kind)
    assert said in str(error)


def test_an_architecture_is_checked_before_the_start():
    check_architecture("i", "amd64", "amd64")
    with pytest.raises(BadInput, match="image 'i' is for arm64, the engine runs amd64: build or pull it for amd64"):
        check_architecture("i", "arm64", "amd64")


def test_loopback_means_the_same_in_the_network_of_the_host_only():
    check_reachable("http://127.0.0.1:8333", "host")
    check_reachable("http://s3:8333", "stages")
    check_reachable("", "stages")
    with pytest.raises(BadInput, match="docker_network = host"):
        check_reachable("http://localhost:8333", "stages")


@pytest.mark.parametrize(
    ("status", "said", "kind", "advice"),
    [
        (500, "mkdir /var/lib/docker/overlay2/1: no space left on device", Unavailable, "`docker system df` lists"),
        (400, "no space left on device", Unavailable, "free some of the engine's disk"),
        (404, "network sim2edge-stages not found", BadInput, "create it, or set [sim2edge] docker_network"),
        (403, "HostConfig.Binds is not let through", BadInput, "HostConfig.Binds"),
        (500, "the engine stumbled", Unavailable, "the engine stumbled"),
    ],
)
def test_what_an_engine_says_is_one_line_with_what_to_do(status, said, kind, advice):
    answer = SimpleNamespace(status_code=status, reason="", url="")
    problem = APIError("", response=answer, explanation=said + "\nmore")
    error = translate("the container of train", problem, "unix:///var/run/docker.sock")
    assert isinstance(error, kind)
    assert str(error).startswith(f"the container of train: {said} more")
    assert advice in str(error)
    assert "\n" not in str(error)
