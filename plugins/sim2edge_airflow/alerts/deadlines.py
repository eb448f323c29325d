"""Set the deadline of a DAG's runs, after which a batch is late: `deadline=late_batch(__doc__)` of a DAG.

Airflow stores the deadline when it creates the run, whether triggered, scheduled or started by an asset event, and
deletes it when the run succeeds in time. Time counts from when the run is queued: event-driven runs have no other date.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import AsyncCallback, DeadlineAlert
from airflow.sdk.definitions.deadline import BaseDeadlineReference

from sim2edge_airflow.airflow_database import queued_at
from sim2edge_airflow.alerts.report import owner, part, report_late
from sim2edge_airflow.number_settings import read_number

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class QueuedAt(BaseDeadlineReference):
    """When a run was queued. With Airflow's `DAGRUN_QUEUED_AT`, Airflow 3.3.2 fails to clear any task of such a run."""

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: "Session", dag_id: str, run_id: str, **_: Any) -> datetime | None:
        return queued_at(session, dag_id, run_id)


def late_batch(runbook: str) -> DeadlineAlert | None:
    """Return the deadline of a DAG with this runbook: `[sim2edge] late_after_hours` after it was queued; None if 0.

    Raises:
        BadInput: the setting is not a number of hours.
    """
    hours = read_number("late_after_hours", 0, 10_000)
    if not hours:
        return None
    callback = AsyncCallback(report_late, {"owner": owner(runbook), "when_it_fails": part(runbook, "When it fails")})
    return DeadlineAlert(QueuedAt(), timedelta(hours=hours), callback, name="late batch")
