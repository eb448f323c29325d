"""Run sim2edge on Airflow: operators, runtimes, triggers, pages and alerts, as an Airflow provider.

    from sim2edge_airflow import StageOperator

Names importable this way are stable, see docs/provider.md. `provider_info.py` describes the package to Airflow,
`plugin.py` registers what it adds to Airflow's processes. Names are loaded on first use: every process of Airflow
imports this module.
"""

from importlib import import_module
from typing import Any

STABLE = {
    "StageOperator": "sim2edge_airflow.operators.stage_operator",
    "PARAMS": "sim2edge_airflow.run_settings",
    "DEFAULT_ARGS": "sim2edge_airflow.run_settings",
    "BatchTimetable": "sim2edge_airflow.scheduling.batch_timetable",
    "BusTrigger": "sim2edge_airflow.scheduling.bus_trigger",
    "late_batch": "sim2edge_airflow.alerts.deadlines",
}
"""Exported name to its module."""
__all__ = list(STABLE)


def __getattr__(name: str) -> Any:
    """Load one of the stable names."""
    if name not in STABLE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(STABLE[name]), name)
