"""Keep the trigger's old path: asset watchers from before the package sim2edge_airflow are stored under it.

Needed until the DAG processor has parsed the DAGs once after the upgrade. To be removed in version 0.2.
"""

from sim2edge_airflow.scheduling.bus_trigger import BusTrigger

__all__ = ["BusTrigger"]
