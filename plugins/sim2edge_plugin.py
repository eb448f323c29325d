"""Tells Airflow what this folder adds to it; the only file here that Airflow loads as a plugin (`.airflowignore`)."""

from typing import Any

import pools
import warm_start
from airflow.plugins_manager import AirflowPlugin
from batch_timetable import BatchTimetable


class Sim2EdgePlugin(AirflowPlugin):
    """The timetable of batches, the pages of artifacts, and the entry that opens them."""

    name = "sim2edge"
    timetables = [BatchTimetable]  # noqa: RUF012
    listeners = [pools, warm_start]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {"name": "Artifacts", "href": "/sim2edge/artifacts", "destination": "nav", "url_route": "artifacts"}
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The pages; only the API server asks for them, so only it pays for importing FastAPI."""
        from artifact_page import make_app

        return [{"app": make_app(), "url_prefix": "/sim2edge", "name": "sim2edge"}]
