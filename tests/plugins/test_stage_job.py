"""What a stage is given: its own credentials, plain settings, and keys only if it signs."""

from datetime import timedelta

import pytest

from sim2edge.errors import BadInput
from sim2edge.expectation import Expectation
from sim2edge.plan import Plan
from sim2edge.stages import get_stage
from sim2edge_airflow.run_settings import RunSettings
from sim2edge_airflow.runtimes.stage_job import make_job, signing_keys, stage_secrets
from sim2edge_airflow.runtimes.stage_settings import StageSettings

INPUTS = {"episodes": ["episodes/b/1"], "champion": []}
WORKER = {"AWS_ACCESS_KEY_ID": "worker", "AWS_SECRET_ACCESS_KEY": "worker's", "AWS_ENDPOINT_URL": "http://s3:8333"}


@pytest.fixture
def keys(tmp_path):
    folder = tmp_path / "keys"
    (folder / "offline").mkdir(parents=True)
    (folder / "root.json").write_text("{}")
    (folder / "targets-1.pem").write_text("online")
    (folder / "offline" / "root-1.pem").write_text("offline")
    return folder


def job(stage: str, environment: dict[str, str]):
    planned = Plan(get_stage(stage), get_stage(stage).config(), INPUTS, "frames/b/2", None, pinned=["ready=0"])
    run = RunSettings("b", "demo")
    return make_job(planned, run, ["width=64"], {"dag": "d"}, timedelta(hours=1), StageSettings(), environment)


def test_a_job_says_what_runs_for_whom_and_until_when():
    made = job("clean", WORKER)
    *said, expected, override, pinned = made.arguments
    assert said == [
        "clean",
        "--partition=b",
        "--preset=demo",
        "--input=episodes=episodes/b/1",
        "--no-input=champion",
    ]
    assert Expectation.model_validate_json(expected.removeprefix("--expect=")).reference == "frames/b/2"
    assert (override, pinned) == ("width=64", "ready=0")
    assert made.labels == {"dag": "d", "stage": "clean", "artifact": "frames/b/2"}
    assert made.deadline_s == 3660, "longer than the task, which ends it in time unless it was killed"


def test_credentials_are_apart_from_what_everybody_may_read():
    made = job("clean", {**WORKER, "AIRFLOW__API_AUTH__JWT_SECRET": "x", "HOME": "/root"})
    assert made.environment == {"AWS_ENDPOINT_URL": "http://s3:8333"}
    assert made.secrets == {"AWS_ACCESS_KEY_ID": "worker", "AWS_SECRET_ACCESS_KEY": "worker's"}
    assert made.keys == {}


def test_a_stages_own_credentials_win_over_the_workers_as_a_whole(tmp_path):
    (tmp_path / "clean.env").write_text("AWS_ACCESS_KEY_ID=clean\nAWS_SECRET_ACCESS_KEY=clean's\n")
    environment = {**WORKER, "AWS_SESSION_TOKEN": "worker's", "SIM2EDGE_CREDENTIALS": str(tmp_path)}
    assert stage_secrets(get_stage("clean"), environment) == {
        "AWS_ACCESS_KEY_ID": "clean",
        "AWS_SECRET_ACCESS_KEY": "clean's",
    }
    assert stage_secrets(get_stage("train"), environment)["AWS_SESSION_TOKEN"] == "worker's"


def test_where_ingest_has_no_credentials_yet_it_has_those_of_capture_and_says_so(tmp_path, caplog):
    (tmp_path / "capture.env").write_text("AWS_ACCESS_KEY_ID=capture's\n")
    environment = {"SIM2EDGE_CREDENTIALS": str(tmp_path), "AWS_ACCESS_KEY_ID": "worker's"}
    assert stage_secrets(get_stage("ingest"), environment) == {"AWS_ACCESS_KEY_ID": "capture's"}
    assert "ingest runs with the credentials of capture; `sim2edge access init` creates its own" in caplog.text
    (tmp_path / "ingest.env").write_text("AWS_ACCESS_KEY_ID=ingest's\n")
    assert stage_secrets(get_stage("ingest"), environment) == {"AWS_ACCESS_KEY_ID": "ingest's"}


def test_a_bad_line_of_credentials_is_named_and_not_shown(tmp_path):
    (tmp_path / "clean.env").write_text("hunter2\n")
    with pytest.raises(BadInput, match=r"clean\.env, line 1") as caught:
        stage_secrets(get_stage("clean"), {"SIM2EDGE_CREDENTIALS": str(tmp_path)})
    assert "hunter2" not in str(caught.value)


def test_push_alone_gets_keys_and_never_those_that_are_kept_offline(keys):
    environment = {**WORKER, "SIM2EDGE_KEYS": str(keys)}
    assert job("push", environment).keys == {"root.json": b"{}", "targets-1.pem": b"online"}
    assert job("train", environment).keys == {}
    assert job("push", WORKER).keys == {}


def test_without_a_key_folder_there_are_no_keys_and_a_file_is_none(tmp_path):
    assert signing_keys(None) == signing_keys("/nowhere") == {}
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match=r"SIM2EDGE_KEYS '.*file': Not a directory"):
        signing_keys(str(tmp_path / "file"))
