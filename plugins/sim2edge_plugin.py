"""Tells Airflow what this folder adds to it; the only file here that Airflow loads as a plugin (`.airflowignore`)."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin
from batch_timetable import BatchTimetable


class Sim2EdgePlugin(AirflowPlugin):
    """The timetable of batches, the pages of artifacts, and the entry that opens them."""

    name = "sim2edge"
    timetables = [BatchTimetable]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {"name": "Artifacts", "href": "/sim2edge/artifacts", "destination": "nav", "url_route": "artifacts"}
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The pages, and the webhook; only the API server asks for them, so only it pays for importing FastAPI."""
        from arrival_hook import make_hook
        from artifact_page import make_app

        return [  # the first whose prefix fits gets the request
            {"app": make_hook(), "url_prefix": "/sim2edge/inbox", "name": "sim2edge-inbox"},
            {"app": make_app(), "url_prefix": "/sim2edge", "name": "sim2edge"},
        ]
