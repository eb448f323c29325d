"""
### reconcile: what a paused DAG missed is started

Airflow drops the event that should start a DAG while the DAG is paused. Events stay recorded, with the runs they
started: the `find_` tasks look for events that started no run of a DAG, and the `start_` tasks emit them again, with
the same batch and settings, once the DAG is not paused.

**Starts** every five minutes. By hand: *Trigger*; nothing is started twice.

**Look at** the log of a `find_` task: a line for each dropped event. *Skipped* means that no event was dropped, or that
the DAG is still paused.

**Pause this DAG** only to keep what was missed from starting; it starts when this DAG is unpaused, up to thirty days
later. A run that failed is not started again: clear it.

**When it fails**: the last line of the log reports that S3 does not answer, or that the DAG does not exist.
Nothing is lost: the next run starts what this one did not.

Owner: Airflow operations.
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag

from sim2edge_airflow.assets import ANNOTATIONS, DELIVERY, EPISODES, TRAINING, VERDICT
from sim2edge_airflow.operators.reconcile_operators import reconcile
from sim2edge_airflow.run_settings import DEFAULT_ARGS


@dag(
    dag_id="reconcile",
    description="Starts what a paused DAG missed",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS
    | {"owner": "Airflow operations", "execution_timeout": timedelta(minutes=10), "priority_weight": 1000},
    tags=["sim2edge", "housekeeping"],
)
def reconcile_events() -> None:
    """Compare the events of each asset with the runs they started."""
    reconcile(DELIVERY, starts="ingest_batch")
    reconcile(ANNOTATIONS, starts="annotate_batch", makes="frames")
    reconcile(EPISODES, starts="data_cleaning", makes="frames")
    reconcile(TRAINING, starts="train_model", newest_only=True)
    reconcile(VERDICT, starts="release_model", makes="release", newest_only=True)


reconcile_events()
