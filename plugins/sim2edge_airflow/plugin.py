"""Register what this package adds to Airflow's processes: an `airflow.plugins` entry point of the distribution."""

from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from sim2edge_airflow.alerts.deadlines import QueuedAt
from sim2edge_airflow.scheduling import listeners as process_listeners
from sim2edge_airflow.scheduling import pools
from sim2edge_airflow.scheduling.batch_timetable import BatchTimetable

PREFIX = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + "/sim2edge"
"""URL path of the pages, below the path of Airflow's own base URL."""


class Sim2EdgePlugin(AirflowPlugin):
    """The batch timetable, the pools, the run notes, the pages, and their entries in the UI."""

    name = "sim2edge"
    timetables = [BatchTimetable]  # noqa: RUF012
    deadline_references = [QueuedAt]  # noqa: RUF012
    listeners = [pools, process_listeners]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {"name": "Flywheel", "href": f"{PREFIX}/flywheel", "destination": "nav", "url_route": "flywheel"},
        {
            "name": "Artifacts",
            "href": f"{PREFIX}/runs/{{DAG_ID}}/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "artifacts",
        },
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The pages; only the API server reads this property, so only it imports FastAPI."""
        from sim2edge_airflow.pages.app import make_app

        return [{"app": make_app(), "url_prefix": "/sim2edge", "name": "sim2edge"}]

    @property
    def fastapi_root_middlewares(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Refuse requests to start a run with a mistake in it, hold answers that come too early, order changes.

        The first is the innermost: an answer that waits takes no turn.
        """
        from sim2edge_airflow.pages.answer_guard import AnswerGuard
        from sim2edge_airflow.pages.one_writer import OneWriter, is_needed
        from sim2edge_airflow.pages.trigger_guard import TriggerGuard

        guards = [TriggerGuard, AnswerGuard]
        if is_needed(conf.get("database", "sql_alchemy_conn")):
            guards.insert(0, OneWriter)
        return [{"middleware": each, "name": f"sim2edge {each.__name__}"} for each in guards]
