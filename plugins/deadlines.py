"""When a batch is late: `deadline=late_batch(__doc__)` of a DAG.

Airflow notes the deadline when it makes the run, whatever started it (a person, a cron, an asset's event), and drops it
when the run succeeds in time. The clock starts when the run is queued: the runs that events start have no other date.
"""

from datetime import timedelta

from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference
from airflow.sdk.configuration import conf
from alerts import report_late
from runbook import owner, part

from sim2edge.errors import BadInput

SETTING = "late_after_hours"


def late_batch(runbook: str) -> DeadlineAlert | None:
    """The deadline of a DAG with this runbook: `[sim2edge] late_after_hours` after it was queued; 0: none.

    Raises:
        BadInput: the setting is not a number of hours.
    """
    hours = read_hours(conf.get("sim2edge", SETTING))
    if not hours:
        return None
    callback = AsyncCallback(report_late, {"owner": owner(runbook), "when_it_fails": part(runbook, "When it fails")})
    return DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=hours), callback, name="late batch")


def read_hours(text: str) -> float:
    """Hours, 0 to 10000.

    Raises:
        BadInput: it is something else.
    """
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours <= 10_000:
        raise BadInput(f"[sim2edge] {SETTING}: '{text}' is not a number of hours: expected 0 to 10000, 0 for none")
    return hours
