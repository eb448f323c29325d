"""Tracking in a real MLflow store on SQLite: one run an artifact however often it is tried, never a reason to fail."""

import shutil

import pytest
from mlflow import MlflowClient
from perception_data import DATASET, TINY, put_artifact, run_stage

from sim2edge import registry
from sim2edge.train import mlflow_tracking, run


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A tracking store of this test's own; the package of a model is its two files, to save time."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    names = shutil.ignore_patterns("*.png", "history.json")
    monkeypatch.setattr(mlflow_tracking, "package_model", lambda *folders: shutil.copytree(*folders, ignore=names))
    client = MlflowClient(uri)
    client.create_experiment(mlflow_tracking.DEFAULT_EXPERIMENT, artifact_location=(tmp_path / "artifacts").as_uri())
    return client


def all_runs(client):
    experiment = client.get_experiment_by_name(mlflow_tracking.DEFAULT_EXPERIMENT)
    return client.search_runs([experiment.experiment_id])


def test_a_run_holds_params_metrics_dataset_files_and_a_challenger(bus, dataset, store):
    manifest, _ = run_stage(bus, "train", {"dataset": [dataset]}, *TINY, "epochs=2")
    (tracked,) = all_runs(store)
    assert tracked.info.status == "FINISHED"
    assert tracked.data.tags[registry.ARTIFACT_TAG] == manifest.reference
    assert tracked.data.params["learning_rate"] == "0.004"
    assert tracked.data.params["train_frames"] == "40"
    losses = store.get_metric_history(tracked.info.run_id, "train_total_loss")
    assert [metric.step for metric in losses] == [1, 2]
    assert tracked.data.metrics["best_map_50"] == pytest.approx(manifest.summary["map_50"])
    assert tracked.inputs.dataset_inputs[0].dataset.name == dataset
    assert {file.path for file in store.list_artifacts(tracked.info.run_id)} == {"curves.png", "history.json", "model"}
    challenger = store.get_model_version_by_alias("perception", "challenger")
    assert challenger.tags[registry.ARTIFACT_TAG] == manifest.reference
    assert challenger.run_id == tracked.info.run_id


def test_a_retry_continues_the_run_of_the_attempt_that_died(bus, dataset, store, monkeypatch):
    class Died(Exception):
        pass

    def die(*_):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(run, "finish", die)
        with pytest.raises(Died):
            run_stage(bus, "train", {"dataset": [dataset]}, *TINY, "epochs=2")
    (left,) = all_runs(store)
    assert left.info.status == "RUNNING"
    run_stage(bus, "train", {"dataset": [dataset]}, *TINY, "epochs=2")
    (tracked,) = all_runs(store)
    assert tracked.info.run_id == left.info.run_id
    assert tracked.info.status == "FINISHED"
    losses = store.get_metric_history(tracked.info.run_id, "train_total_loss")
    assert [metric.step for metric in losses] == [1, 2]


def test_an_epoch_that_could_not_be_sent_comes_with_the_next(bus, dataset, store, monkeypatch):
    sent, log_batch = [], MlflowClient.log_batch

    def fail_once(self, run_id, metrics=(), **rest):
        if metrics:
            sent.append(len(metrics))
            if len(sent) == 1:
                raise ConnectionError("reset by peer")
        return log_batch(self, run_id, metrics=metrics, **rest)

    monkeypatch.setattr(MlflowClient, "log_batch", fail_once)
    monkeypatch.setattr(mlflow_tracking, "BACKOFF_S", 0.0)
    _, diary = run_stage(bus, "train", {"dataset": [dataset]}, *TINY, "epochs=3")
    (tracked,) = all_runs(store)
    losses = store.get_metric_history(tracked.info.run_id, "train_total_loss")
    assert [metric.step for metric in losses] == [1, 2, 3]
    assert "WARNING: MLflow failed, metrics wait: ConnectionError: reset by peer" in diary.messages


def test_a_server_that_is_away_costs_a_warning_not_the_training(bus, dataset, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(registry, "SECONDS_BETWEEN_TRIES", 0.0)
    manifest, diary = run_stage(bus, "train", {"dataset": [dataset]}, *TINY, "epochs=2")
    assert bus.exists(manifest.reference)
    warnings = [message for message in diary.messages if message.startswith("WARNING: MLflow failed")]
    assert len(warnings) == 2  # one while training, one at the end
    assert "this run is not tracked in full" in warnings[-1]


def test_two_models_are_two_versions_and_the_alias_moves(bus, dataset_folder, store):
    references = []
    for seed in ("seed=1", "seed=2"):
        put_artifact(bus, DATASET, dataset_folder)
        manifest, _ = run_stage(bus, "train", {"dataset": [DATASET]}, *TINY, "epochs=1", seed)
        references.append(manifest.reference)
    assert registry.find_version(store, references[0]).version != registry.find_version(store, references[1]).version
    assert store.get_model_version_by_alias("perception", "challenger").tags[registry.ARTIFACT_TAG] == references[1]
