"""Track a training run in MLflow, if `MLFLOW_TRACKING_URI` is set.

A run is found by a tag that holds the artifact's reference, so a retry continues the run of a killed attempt. Epochs
that could not be sent are sent with the next ones; a server that stays unreachable costs a warning, not the training.
"""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim2edge import config as configs
from sim2edge.environment import revision
from sim2edge.registry import ARTIFACT_TAG, REGISTERED_MODEL, find_version, mlflow_client, reach_mlflow
from sim2edge.stage import Artifact, Job
from sim2edge.train.config import TrainConfig
from sim2edge.train.mlflow_model import package_model

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

EPOCHS_TAG = "sim2edge.epochs"
"""Tag with the number of epochs already sent to the run; written in one batch with their metrics."""

BACKOFF_S = 60.0
"""Pause after a failure, so that an unreachable server does not delay every epoch."""

DEFAULT_EXPERIMENT = "sim2edge-perception"
PLOTS = ("curves.png", "history.json")


class Tracker:
    """One MLflow run; a no-op when no server is configured."""

    def __init__(self, job: Job[TrainConfig], counts: Mapping[str, int]) -> None:
        self._job = job
        self._counts = counts
        self._client = None if job.dry_run else mlflow_client()
        self._run_id: str | None = None
        self._experiment = ""
        self._sent = 0
        self._backoff_until = 0.0
        if self._client is None and not job.dry_run:
            job.progress.log("MLFLOW_TRACKING_URI is not set: this run is not tracked")

    @property
    def where(self) -> dict[str, dict[str, str]]:
        """MLflow's ids of the experiment and the run, for the summary; empty if the run is not tracked."""
        return {"mlflow": {"experiment": self._experiment, "run": self._run_id}} if self._run_id else {}

    def track(self, history: Sequence[Mapping[str, float | None]]) -> None:
        """Send the epochs of the history that are not sent yet."""
        client = self._client
        if client is None or time.monotonic() < self._backoff_until:
            return
        if not reach_mlflow(lambda: self._send(client, history), "metrics wait", self._job.progress, tries=1):
            self._backoff_until = time.monotonic() + BACKOFF_S

    def finish(self, history: Sequence[Mapping[str, float | None]], metrics: Mapping[str, float | None]) -> None:
        """Send the remaining epochs and the files, and register the model as challenger."""
        if client := self._client:
            reach_mlflow(
                lambda: self._finish(client, history, metrics), "this run is not tracked in full", self._job.progress
            )

    def _finish(
        self, client: "MlflowClient", history: Sequence[Mapping[str, float | None]], metrics: Mapping[str, float | None]
    ) -> None:
        run_id = self._send(client, history)
        for name, value in metrics.items():
            if value is not None:
                client.log_metric(run_id, f"best_{name}", value, step=len(history))
        for name in PLOTS:
            client.log_artifact(run_id, str(self._job.output / name))
        version = register(client, run_id, self._job.reference, self._job.output)
        client.set_registered_model_alias(REGISTERED_MODEL, "challenger", version)
        client.set_terminated(run_id, "FINISHED")
        self._job.progress.log("tracked in MLflow", run=run_id, registered=f"{REGISTERED_MODEL} v{version}")

    def _send(self, client: "MlflowClient", history: Sequence[Mapping[str, float | None]]) -> str:
        from mlflow.entities import Metric, RunTag

        if self._run_id is None:
            self._run_id, self._sent = self._open(client)
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, epoch)
            for epoch, row in enumerate(history[self._sent :], start=self._sent + 1)
            for name, value in row.items()
            if name != "epoch" and value is not None
        ]
        if metrics:
            client.log_batch(self._run_id, metrics=metrics, tags=[RunTag(EPOCHS_TAG, str(len(history)))])
            self._sent = len(history)
        return self._run_id

    def _open(self, client: "MlflowClient") -> tuple[str, int]:
        """Return the id of this artifact's run, created if missing, and the number of epochs it holds."""
        from mlflow.entities import Param

        experiment = open_experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT))
        self._experiment = experiment
        found = client.search_runs([experiment], f"tags.`{ARTIFACT_TAG}` = '{self._job.reference}'", max_results=1)
        if found:
            run = found[0]
            client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id), int(run.data.tags.get(EPOCHS_TAG, 0))
        run = client.create_run(experiment, tags=self._tags(), run_name=self._job.reference.partition("/")[2])
        params = {**configs.resolve(self._job.config), **self._counts}
        client.log_batch(run.info.run_id, params=[Param(name, str(value)) for name, value in params.items()])
        client.log_inputs(run.info.run_id, [describe_dataset(self._job.input("dataset"))])
        return str(run.info.run_id), 0

    def _tags(self) -> dict[str, str]:
        return {
            ARTIFACT_TAG: self._job.reference,
            "sim2edge.partition": self._job.partition,
            "sim2edge.config_hash": configs.digest(configs.resolve(self._job.config)),
            "mlflow.source.name": "sim2edge train",
            "mlflow.source.git.commit": revision() or "unknown",
        }


def open_experiment(client: "MlflowClient", name: str) -> str:
    """Return the id of the experiment `name`, created if missing."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # created concurrently by another run
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def describe_dataset(dataset: Artifact) -> "DatasetInput":
    """Return a dataset artifact as an MLflow dataset: its reference, id and summary."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    reference = dataset.manifest.reference
    described = Dataset(
        name=reference,
        digest=dataset.manifest.id,
        source_type="sim2edge",
        source=json.dumps({"reference": reference}),
        profile=json.dumps(dataset.manifest.summary)[:16_000_000],
    )
    return DatasetInput(described, [InputTag("mlflow.data.context", "training")])


def register(client: "MlflowClient", run_id: str, reference: str, folder: Path) -> str:
    """Return the registered version of the model artifact `reference`, created from files in `folder` if missing."""
    from mlflow.exceptions import MlflowException

    version: Any = find_version(client, reference)
    if version is None:
        with tempfile.TemporaryDirectory(prefix="mlflow-model-") as scratch:
            package_model(folder, Path(scratch) / "model")
            client.log_artifacts(run_id, str(Path(scratch) / "model"), "model")
        if not client.search_registered_models(f"name = '{REGISTERED_MODEL}'"):
            with contextlib.suppress(MlflowException):  # created concurrently by another run; else the next call fails
                client.create_registered_model(REGISTERED_MODEL)
        source = f"runs:/{run_id}/model"
        version = client.create_model_version(
            REGISTERED_MODEL, source, run_id, tags={ARTIFACT_TAG: reference}, await_creation_for=0
        )
    return str(version.version)
