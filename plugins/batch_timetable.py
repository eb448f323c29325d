"""Keep the timetable's old path: DAGs that were serialized before there was the package sim2edge_airflow name it.

Needed until the DAG processor has read the DAGs once after the upgrade, and for runs of their older versions. Goes with
version 0.2.
"""

from sim2edge_airflow.scheduling import batch_timetable


class BatchTimetable(batch_timetable.BatchTimetable):
    """The same: Airflow knows a timetable by the path of its class, so the old path needs a class of its own."""
