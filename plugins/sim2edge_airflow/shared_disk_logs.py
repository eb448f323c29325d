"""Have the API server read the logs of tasks from the disk that it shares with the workers.

    [logging] logging_config_class = sim2edge_airflow.shared_disk_logs.LOGGING_CONFIG     (the API server's only)

While a task runs, Airflow asks the log server of its worker, too, even if the log is on this disk. Where there is no
such server, every log of a running task would begin with "Could not read served logs". Airflow's log server listens on
all interfaces and has no option for it, so `sim2edge up` and compose start none. Workers that share no disk need it.
"""

import copy
from typing import Any

from airflow.config_templates.airflow_local_settings import (
    DEFAULT_LOGGING_CONFIG,
    DEFAULT_REMOTE_CONN_ID,  # noqa: F401  Airflow reads these two from the module that the setting names
    REMOTE_TASK_LOG,  # noqa: F401
)
from airflow.utils.log.file_task_handler import FileTaskHandler


class SharedDiskHandler(FileTaskHandler):
    """Airflow's own handler, without requests to log servers."""

    def _read_from_logs_server(self, ti: Any, worker_log_rel_path: str) -> tuple[list[str], list[Any]]:  # noqa: ARG002
        """Return no sources and no logs: what a server could return is on the disk."""
        return [], []


LOGGING_CONFIG = copy.deepcopy(DEFAULT_LOGGING_CONFIG)
"""Airflow's own, with that handler."""
LOGGING_CONFIG["handlers"]["task"]["class"] = f"{__name__}.{SharedDiskHandler.__name__}"
