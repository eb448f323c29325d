"""Held-out results in a real MLflow store on SQLite: in the run of the training, never a reason to fail."""

import pytest
from mlflow import MlflowClient
from perception_data import run_stage

from sim2edge import registry
from sim2edge.validate.mlflow_tracking import FILES, flatten

TOLD = ("resamples=20",)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A tracking store of this test's own."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(registry, "SECONDS_BETWEEN_TRIES", 0.0)
    client = MlflowClient(uri)
    client.create_registered_model("perception")
    client.create_experiment("trainings", artifact_location=(tmp_path / "artifacts").as_uri())
    return client


def test_a_verdict_joins_the_run_of_the_training_and_its_version(bus, dataset, put_model, store):
    model = put_model("1")
    run = store.create_run(store.get_experiment_by_name("trainings").experiment_id).info.run_id
    tags = {registry.ARTIFACT_TAG: model}
    version = store.create_model_version("perception", "file:///nowhere", run, tags=tags).version
    manifest, _ = run_stage(bus, "validate", {"model": [model], "dataset": [dataset]}, *TOLD)
    data = store.get_run(run).data
    assert data.metrics["test_map_50"] == manifest.summary["map_50"]
    assert data.metrics["test_floors/wood/recall"] >= 0
    assert data.tags["sim2edge.verdict"] == manifest.reference
    assert (data.tags["sim2edge.passed"], data.tags["sim2edge.refused"]) == ("false", manifest.refused)
    files = {file.path.rpartition("/")[2] for file in store.list_artifacts(run, manifest.reference)}
    assert files == set(FILES)
    assert store.get_model_version("perception", version).tags["sim2edge.passed"] == "false"


def test_a_server_that_is_away_costs_a_warning_not_the_verdict(bus, dataset, put_model, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(registry, "SECONDS_BETWEEN_TRIES", 0.0)
    manifest, diary = run_stage(bus, "validate", {"model": [put_model("1")], "dataset": [dataset]}, *TOLD)
    assert bus.exists(manifest.reference)
    assert any("WARNING: MLflow failed, the verdict is not tracked" in message for message in diary.messages)


def test_undefined_figures_are_left_out_and_names_are_those_that_mlflow_allows():
    metrics = {"map_50": None, "frames": 3, "classes": {"a $b/c": {"ap_50": 0.5, "f1": None}}}
    assert dict(flatten(metrics)) == {"test_frames": 3.0, "test_classes/a _b_c/ap_50": 0.5}
