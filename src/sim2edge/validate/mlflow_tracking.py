"""Add held-out results to the MLflow run of the training, if `MLFLOW_TRACKING_URI` is set.

The run gets the metrics as `test_*`, the tables and pictures in a folder of the verdict's name, and tags; the
registered version gets the tags, too. A server that cannot be reached costs a warning, not the verdict.
"""

import re
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sim2edge.registry import REGISTERED_MODEL, find_version, mlflow_client, reach_mlflow
from sim2edge.stage import Job
from sim2edge.validate.config import ValidateConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient

FILES = ("verdict.json", "rules.csv", "confusion_matrix.csv", "confusion_matrix.png", "roc.png")
"""Not `detections.json`, which is large and stays on the bus."""
VERDICT_TAG = "sim2edge.verdict"
PASSED_TAG = "sim2edge.passed"
REFUSED_TAG = "sim2edge.refused"
"""Tags with the verdict's reference, `true` or `false`, and the failed rules; those of the latest verdict."""
MAX_TAG = 5000
"""Characters of a tag that MLflow stores."""


def track_verdict(job: Job[ValidateConfig], metrics: Mapping[str, Any], refused: str | None) -> None:
    """Send the metrics of a verdict, its files in the job's output folder, and why the model is refused, if it is."""
    client = None if job.dry_run else mlflow_client()
    if client:
        reach_mlflow(lambda: _send(client, job, metrics, refused), "the verdict is not tracked", job.progress)


def _send(client: "MlflowClient", job: Job[ValidateConfig], metrics: Mapping[str, Any], refused: str | None) -> None:
    from mlflow.entities import Metric, RunTag

    model = job.input("model").manifest.reference
    version = find_version(client, model)
    if version is None or not version.run_id:
        job.progress.log(f"WARNING: MLflow has no run of {model}: the verdict is not tracked")
        return
    now = int(time.time() * 1000)
    tags = {VERDICT_TAG: job.reference, PASSED_TAG: "false" if refused else "true", REFUSED_TAG: refused or ""}
    tags = {name: text[:MAX_TAG] for name, text in tags.items()}
    for name in FILES:
        client.log_artifact(version.run_id, str(job.output / name), job.reference)
    client.log_batch(
        version.run_id,
        metrics=[Metric(name, value, now, 0) for name, value in flatten(metrics)],
        tags=[RunTag(name, text) for name, text in tags.items()],
    )
    for name, text in tags.items():
        client.set_model_version_tag(REGISTERED_MODEL, version.version, name, text)
    job.progress.log("verdict tracked in MLflow", run=version.run_id)


def flatten(metrics: Mapping[str, Any], prefix: str = "test") -> Iterator[tuple[str, float]]:
    """Yield every number with its name in MLflow, `test_map_50` or `test_classes/box/ap_50`; skip undefined ones."""
    for name, value in metrics.items():
        plain = re.sub(r"[^\w .:-]", "_", str(name), flags=re.ASCII)  # what MLflow allows
        joined = f"{prefix}_{plain}" if prefix == "test" else f"{prefix}/{plain}"
        if isinstance(value, Mapping):
            yield from flatten(value, joined)
        elif value is not None:
            yield joined, float(value)
