"""Register the classes that Airflow finds by name alone under their old paths, see the modules beside this one.

The one file here that Airflow loads as a plugin (`.airflowignore`). Goes with version 0.2, and those modules with it.
"""

from airflow.plugins_manager import AirflowPlugin

import batch_timetable
import deadlines


class OldPathsPlugin(AirflowPlugin):
    """The timetable and the deadline reference, as they were called before the package sim2edge_airflow."""

    name = "sim2edge_old_paths"
    timetables = [batch_timetable.BatchTimetable]  # noqa: RUF012
    deadline_references = [deadlines.QueuedAt]  # noqa: RUF012
