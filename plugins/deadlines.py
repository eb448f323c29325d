"""Keep the deadline reference's old path: the deadlines of DAGs from before the package sim2edge_airflow name it.

Needed until the DAG processor has parsed the DAGs once after the upgrade, and for runs of their older versions. To be
removed in version 0.2.
"""

from sim2edge_airflow.alerts import deadlines


class QueuedAt(deadlines.QueuedAt):
    """Alias: Airflow identifies a reference by the path of its class, so the old path needs a class of its own."""
