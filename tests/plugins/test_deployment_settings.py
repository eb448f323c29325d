"""A setting that is a text is one of its form, or is named in one line by whoever reads it."""

import pytest
from airflow.sdk import Asset

from sim2edge.errors import Misconfigured
from sim2edge.manifest import Manifest
from sim2edge_airflow.assets import watched
from sim2edge_airflow.deployment_settings import (
    read_cron,
    read_default_preset,
    read_deployment,
    read_runtime,
    read_stage,
    read_url,
)
from sim2edge_airflow.operators.reap_operator import runtimes_used
from sim2edge_airflow.pages.artifact_page import find_tracking

MODEL = Manifest.model_construct(summary={"mlflow": {"experiment": "1", "run": "2"}})


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        *(("runtime", value, runtimes_used) for value in ("", "Docker", "podman")),
        *(("preset", value, read_default_preset) for value in ("../x", "a b", "a\nb")),
        *(("deployment", value, read_deployment) for value in ("", "Bad Name!", "-x", "x" * 64)),
        *(("capture_cron", value, lambda: read_cron("capture_cron")) for value in ("abc", "61 * * * *")),
        *(("stages", value, runtimes_used) for value in ("/nonexistent.yaml", "/tmp", "/etc/passwd")),
        *(("mlflow_url", value, lambda: find_tracking(MODEL)) for value in ("not a url", "javascript:alert(1)", "x")),
        *(
            ("inbox_queue", value, lambda: watched(Asset("x")))
            for value in ("not a url", "http://x:99999/q", "arn:a:b")
        ),
    ],
)
def test_a_text_that_cannot_be_is_refused_in_one_line_that_names_the_option(monkeypatch, name, value, read):
    monkeypatch.setenv(f"AIRFLOW__SIM2EDGE__{name.upper()}", value)
    with pytest.raises(Misconfigured) as raised:
        read()
    assert str(raised.value).startswith(f"[sim2edge] {name}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["mlflow_url", "inbox_queue"])
def test_a_user_in_a_url_is_refused_and_not_printed(monkeypatch, name):
    monkeypatch.setenv(f"AIRFLOW__SIM2EDGE__{name.upper()}", "https://me:hidden@host/x")
    with pytest.raises(Misconfigured, match=rf"^\[sim2edge\] {name}: contains a user") as raised:
        read_url(name)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("runtime", "kubernetes", read_runtime),
        ("preset", "", read_default_preset),
        ("preset", "demo-2.x", read_default_preset),
        ("deployment", "sim2edge.lab_1", read_deployment),
        ("capture_cron", "@daily", lambda: read_cron("capture_cron")),
        ("capture_cron", "0 2 * * *", lambda: read_cron("capture_cron")),
        ("mlflow_url", "http://127.0.0.1:5000/ml", lambda: read_url("mlflow_url")),
        ("inbox_queue", "https://sqs.eu-west-1.amazonaws.com/1/q", lambda: read_url("inbox_queue")),
    ],
)
def test_a_text_of_its_form_is_taken(monkeypatch, name, value, read):
    monkeypatch.setenv(f"AIRFLOW__SIM2EDGE__{name.upper()}", value)
    assert read() == value


def test_without_a_file_the_stages_have_their_defaults(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__STAGES", "")
    assert read_stage("train", "1").image == "sim2edge/train:1"


def test_the_dag_of_captures_names_its_cron_when_it_is_imported(monkeypatch):
    import runpy
    from pathlib import Path

    monkeypatch.setenv("AIRFLOW__SIM2EDGE__CAPTURE_CRON", "abc")
    with pytest.raises(Misconfigured, match=r"^\[sim2edge\] capture_cron: 'abc': expected a cron expression"):
        runpy.run_path(str(Path(__file__).parents[2] / "dags" / "sim_capture_dag.py"))
