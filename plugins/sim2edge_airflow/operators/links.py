"""Link a task to its artifact: the artifact's page, its manifest, its report, its MLflow run."""

from typing import Any

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


def is_tracked(stage: str) -> bool:
    """Return whether MLflow tracks a stage's runs; False for a stage that is not installed."""
    try:
        return get_stage(stage).tracked
    except BadInput:
        return False


LINKS = (ArtifactLink(), ManifestLink(), ReportLink(), TrackingLink())
