"""Keep the trigger's old path: the watchers of assets from before the package sim2edge_airflow are stored under it.

Needed until the DAG processor has read the DAGs once after the upgrade. Goes with version 0.2.
"""

from sim2edge_airflow.scheduling.bus_trigger import BusTrigger

__all__ = ["BusTrigger"]
