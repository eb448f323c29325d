"""Loads what every task loads, once, in the process that tasks are forked from: each then starts a second sooner.

Airflow's LocalExecutor forks its workers from the scheduler, and each task from a worker; the DAG processor does the
same with the files that it parses. What is imported before is there; nothing is connected or started.
"""

from importlib import import_module
from typing import Any

from airflow.listeners import hookimpl

MODULES = (
    "airflow.dag_processing.dagbag",
    "sim2edge_airflow.alerts.deadlines",
    "sim2edge_airflow.runtimes.process_runtime",
    "sim2edge_airflow.scheduling.pipeline_file",
    "sim2edge_airflow.operators.register_operator",
    "sim2edge_airflow.operators.retrain_operators",
    "sim2edge_airflow.operators.stage_in_shards",
    "sim2edge_airflow.operators.stage_operator",
)
"""Airflow's reader of DAG files, and what the DAG files and their tasks import."""


@hookimpl
def on_starting(component: Any) -> None:
    """Import, where a part of Airflow starts that others are forked from."""
    if type(component).__name__ == "Job":  # a task's process says that it starts, too
        for name in MODULES:
            import_module(name)
        import_module("sim2edge.stages").installed()  # the declarations
