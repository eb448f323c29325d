"""Retire artifacts by the retention policy: the task of the `retention` DAG."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from sim2edge.retention import read_policy
from sim2edge.retire import retire_all, survey
from sim2edge_airflow.connections import connect_bus_as
from sim2edge_airflow.operators.failures import plainly
from sim2edge_airflow.run_settings import check_names

MAX_LINES = 200
"""Artifacts named in the log."""


class RetireOperator(BaseOperator):
    """Retires what the policy no longer keeps; with the param `dry_run` it only says what.

    Args:
        policy: the policy file.
    """

    ui_color = "#f4e4d4"

    def __init__(self, *, policy: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = str(policy)

    def execute(self, context: Context) -> int:
        """Retire artifacts and return the bytes of their payload.

        Raises:
            AirflowSkipException: nothing is to be retired.
            AirflowFailException: the policy or a ref is invalid, or the role may not delete.
            AirflowException: S3 cannot be reached; the task is retried.
        """
        plainly(lambda: check_names(context["params"], ("dry_run",)))
        return plainly(lambda: self._retire(dry_run=context["params"].get("dry_run") is True))

    def _retire(self, *, dry_run: bool) -> int:
        policy, now = read_policy(Path(self.policy)), datetime.now(UTC)
        if not policy.kinds:
            raise AirflowSkipException("the policy keeps everything")
        bus = connect_bus_as("retention")
        removals = survey(bus, now).choose(policy, now)
        for removal in removals[:MAX_LINES]:
            self.log.info("%s, %.1f MB: %s", removal.reference, removal.bytes / 1e6, removal.why)
        if len(removals) > MAX_LINES:
            self.log.info("and %d more", len(removals) - MAX_LINES)
        size = sum(removal.bytes for removal in removals)
        if not removals or dry_run:
            raise AirflowSkipException(f"{len(removals)} artifacts, {size / 1e9:.3f} GB, would be retired")
        objects = retire_all(bus, removals, self.dag_id, now)
        self.log.warning("retired %d artifacts, %.3f GB, %d objects", len(removals), size / 1e9, objects)
        return size
