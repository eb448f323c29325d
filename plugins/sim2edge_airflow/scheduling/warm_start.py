"""Import the modules that every task needs in the process that tasks are forked from: tasks start a second sooner.

Airflow's LocalExecutor forks its workers from the scheduler, and each task from a worker; the DAG processor forks for
each file that it parses. Forked processes inherit the imported modules; nothing is connected or started here.
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
"""Airflow's DAG file parser, and the modules that the DAG files and their tasks import."""


@hookimpl
def on_starting(component: Any) -> None:
    """Import the modules when an Airflow component starts that forks other processes."""
    if type(component).__name__ == "Job":  # task processes call this too
        for name in MODULES:
            import_module(name)
        import_module("sim2edge.stages").installed()  # the declarations
