"""Links from a task to what it made."""

from typing import Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf


class ArtifactLink(BaseOperatorLink):
    """Opens the page of the task's artifact (`artifact_page.py`)."""

    name = "Artifact"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """The page's address; empty when the task made nothing. Called in the task's process, when it has ended."""
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{base}/sim2edge/artifacts/{operator.artifact}" if operator.artifact else ""
