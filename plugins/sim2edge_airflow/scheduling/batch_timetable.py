"""Schedule the first DAG of the pipeline: one batch per cron tick, named by its date; triggered runs name their own.

BatchTimetable("0 2 * * *")                     a batch every night at two, and backfills
BatchTimetable("0 2 * * *", automatic=False)    backfills and triggered runs only
"""

from datetime import datetime
from typing import Any, Self

from airflow.exceptions import InvalidPartitionKeyError
from airflow.timetables.base import DagRunInfo, TimeRestriction
from airflow.timetables.trigger import CronPartitionTimetable

from sim2edge.errors import BadInput
from sim2edge.manifest import check_partition


class BatchTimetable(CronPartitionTimetable):
    """A daily `CronPartitionTimetable` that also accepts names that are not dates, and whose schedule can be off."""

    def __init__(self, cron: str, automatic: bool = True) -> None:
        super().__init__(cron, timezone="UTC", key_format="%Y-%m-%d")
        self._automatic = automatic

    def next_dagrun_info_v2(
        self, *, last_dagrun_info: DagRunInfo | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return the next scheduled run; None if nothing starts automatically."""
        if not self._automatic:
            return None
        return super().next_dagrun_info_v2(last_dagrun_info=last_dagrun_info, restriction=restriction)

    def resolve_partition_date(self, partition_key: str | None) -> datetime | None:
        """Return the date that a batch is named by; None when its name is not a date.

        Raises:
            InvalidPartitionKeyError: the name of the batch is invalid; Airflow reports it to the caller.
        """
        if partition_key is None:
            return None
        try:
            check_partition(partition_key)
        except BadInput as error:
            raise InvalidPartitionKeyError(str(error)) from None
        try:
            return super().resolve_partition_date(partition_key)
        except InvalidPartitionKeyError:
            return None

    @property
    def summary(self) -> str:
        """The schedule as the UI shows it."""
        return super().summary if self._automatic else "when triggered"

    def serialize(self) -> dict[str, Any]:
        """See `Timetable.serialize`."""
        return {"cron": self._expression, "automatic": self._automatic}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """See `Timetable.deserialize`."""
        return cls(data["cron"], data["automatic"])
