"""Define Airflow's cluster policy: every Airflow process imports a module of this name from the plugins folder.

Tasks of a backfill, and of the runs that its batches start, are queued in a pool of their own at the lowest priority
(`sim2edge_airflow/scheduling/pools.py`). Airflow applies the policy when a task is created, and whenever it is cleared.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

__all__ = ["task_instance_mutation_hook"]


def task_instance_mutation_hook(task_instance: "TaskInstance", dag_run: "DagRun | None") -> None:
    """Set pool, slots and priority of a task instance, in the transaction that creates or clears it."""
    from sim2edge_airflow.airflow_database import session_of
    from sim2edge_airflow.scheduling.pools import Place, choose_place, fit_slots, follows_backfill, pool_size

    session = session_of(dag_run) if dag_run else None
    if dag_run is None or session is None:  # Airflow calls the hook again, with the run
        return
    declared = Place(task_instance.pool, task_instance.pool_slots, task_instance.priority_weight)
    is_backfill = dag_run.backfill_id is not None
    follower = not is_backfill and bool(dag_run.partition_key) and follows_backfill(dag_run, session)
    place = choose_place(declared, is_backfill, follower)
    task_instance.pool, task_instance.priority_weight = place.pool, place.weight
    task_instance.pool_slots = fit_slots(place.slots, pool_size(place.pool, session))
