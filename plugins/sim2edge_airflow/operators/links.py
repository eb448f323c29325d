"""Link a task to what it produced: pages of its artifact, its run in MLflow, and OpenLineage's datasets."""

import os
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

from sim2edge.errors import BadInput
from sim2edge.stages import get_stage


class PageLink(BaseOperatorLink):
    """Opens one of the pages (`app.py`) about the task's artifact."""

    name = "Artifact"
    folder = "artifacts"
    """First part of the page's address."""

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """Return the page's URL; empty when the task has no artifact.

        Airflow calls this in the task's process, after the task has ended.
        """
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{base}/sim2edge/{self.folder}/{operator.artifact}" if operator.artifact else ""


class ArtifactLink(PageLink):
    """The artifact's page."""


class ManifestLink(PageLink):
    """The artifact's manifest, as JSON."""

    name, folder = "Manifest", "manifests"


class ReportLink(PageLink):
    """The artifact's report: a page, a contact sheet, a matrix, curves; else the artifact's page."""

    name, folder = "Report", "reports"


class TrackingLink(PageLink):
    """The MLflow run, for tasks whose stage is tracked."""

    name, folder = "MLflow run", "tracking"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL of the run; empty for a stage that MLflow does not track."""
        return super().get_link(operator, ti_key=ti_key) if is_tracked(operator.stage) else ""


class DocumentationLink(PageLink):
    """The page of the documentation about the task's stage."""

    name, folder = "Documentation", "docs"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """Return the page's URL; empty for a stage that names none."""
        page = page_about(operator.stage)
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{base}/sim2edge/{self.folder}/{page}" if page else ""


def page_about(stage: str) -> str:
    """Return the name of the page about a stage; empty if it has none or is not installed."""
    try:
        return get_stage(stage).shown.documented
    except BadInput:
        return ""


def is_tracked(stage: str) -> bool:
    """Return whether MLflow tracks a stage's runs; False for a stage that is not installed."""
    try:
        return get_stage(stage).tracked
    except BadInput:
        return False


LINKS = (ArtifactLink(), ManifestLink(), ReportLink(), TrackingLink(), DocumentationLink())


if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


class StageLineage:
    """The methods that Airflow's OpenLineage provider calls on an operator with `inputs` and `artifact`."""

    inputs: dict[str, Any]
    artifact: str | None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage":  # noqa: ARG002
        """Return inputs and output, also of a refused artifact: a verdict is an artifact, too."""
        return describe(self.inputs, self.artifact)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> "OperatorLineage":  # noqa: ARG002
        """Return the inputs: a failed task has no output."""
        return describe(self.inputs, None)


def describe(inputs: dict[str, Any], artifact: str | None) -> "OperatorLineage":
    """Return inputs and output as OpenLineage datasets, without inputs that were not resolved to references."""
    from airflow.providers.openlineage.extractors import OperatorLineage  # only where it is enabled
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    namespace = f"s3://{os.environ.get('SIM2EDGE_BUCKET', '')}"
    read = [name for names in inputs.values() if isinstance(names, list) for name in names]
    return OperatorLineage(
        inputs=[InputDataset(namespace, name) for name in dict.fromkeys(read)],
        outputs=[OutputDataset(namespace, artifact)] if artifact else [],
    )
