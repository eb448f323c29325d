"""Register the classes that Airflow looks up by name under their old paths, see the modules beside this one.

The only file here that Airflow loads as a plugin (`.airflowignore`). To be removed in version 0.2, with those modules.
"""

from airflow.plugins_manager import AirflowPlugin

import batch_timetable
import deadlines


class OldPathsPlugin(AirflowPlugin):
    """The timetable and the deadline reference under their names from before the package sim2edge_airflow."""

    name = "sim2edge_old_paths"
    timetables = [batch_timetable.BatchTimetable]  # noqa: RUF012
    deadline_references = [deadlines.QueuedAt]  # noqa: RUF012
