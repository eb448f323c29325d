"""Keep the timetable's old path: DAGs serialized before the package sim2edge_airflow existed name it.

Needed until the DAG processor has parsed the DAGs once after the upgrade, and for runs of their older versions. To be
removed in version 0.2.
"""

from sim2edge_airflow.scheduling import batch_timetable


class BatchTimetable(batch_timetable.BatchTimetable):
    """Alias: Airflow identifies a timetable by the path of its class, so the old path needs a class of its own."""
