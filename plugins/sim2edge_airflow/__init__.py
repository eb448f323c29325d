"""Airflow for sim2edge: operators, runtimes, triggers, pages and alerts, as an Airflow provider.

    from sim2edge_airflow import StageOperator

What can be imported so is stable, see docs/provider.md. `provider_info.py` is what Airflow reads of the package,
`plugin.py` what the package adds to Airflow's processes. Nothing is loaded before it is asked for: every process of
Airflow imports this.
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
"""By name, the module that has it."""
__all__ = list(STABLE)


def __getattr__(name: str) -> Any:
    """Load one of the stable names."""
    if name not in STABLE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(STABLE[name]), name)
