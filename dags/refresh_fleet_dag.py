"""
### refresh_fleet: the update repository is kept from expiring, and the fleet is watched

Devices refuse updates once the signed metadata of the update repository has expired. `refresh` signs the timestamp
(valid for a day), the snapshot (7 days) and the targets (90 days) again at half of their lifetimes, with the keys and
in the runtime of the stage `push`; it also signs the ring of each enrolled device. *Skipped* means that there is no
update repository: `sim2edge ota init` creates it. `watch` looks whose the statuses of the enrolled devices are
(docs/enrol.md), and alerts once of each device whose status is unsigned, forged, sent again, or comes from two devices.

**When a device is doubtful**: look at it on the page *Devices*. Lost or stolen: `sim2edge device revoke`. A copied
card, or a new card without the key: `sim2edge device enrol --replace`, with a name of its own for each device.

**Starts** every hour. By hand: *Trigger*. It goes on during a hold. Do not pause it: after half a day no device takes
an update.

**Once a year** the root has to be renewed with two of the root keys, which are offline: `sim2edge ota rotate-root`
(docs/fleet-keys.md). Where the root keys lie beside the others, as on the local stack, this DAG does it. An alert
comes 180, 90, 30, 14, 7, 3, 2 and 1 days before the root expires.

**Look at** the log of `refresh`: what was renewed; the result has the date on which each role expires.

**When it fails**: the last line of the log names the key or file that is missing, says that S3 does not answer, or that
the root has expired. Devices go on detecting; they take no update after the date in the last result.

Owner: robotics.
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag

from sim2edge_airflow.operators.refresh_operator import RefreshOperator
from sim2edge_airflow.operators.watch_operator import WatchOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS


@dag(
    dag_id="refresh_fleet",
    description="Keeps the update repository from expiring, and watches the fleet",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("17 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"owner": "robotics"},
    tags=["sim2edge", "housekeeping"],
)
def refresh_fleet() -> None:
    """Renew what is due."""
    RefreshOperator(
        task_id="refresh",
        execution_timeout=timedelta(minutes=10),
        priority_weight=1000,
        doc_md="Signs again what is past half of its lifetime; says when each role expires.",
    )
    WatchOperator(
        task_id="watch",
        execution_timeout=timedelta(minutes=10),
        doc_md="Looks whose the statuses of the enrolled devices are; alerts of those that are not their own.",
    )


refresh_fleet()
