"""Decide which asset events started no run, though they should have. Pure.

Airflow drops an event whose consumer is paused (`register_asset_change` in airflow/assets/manager.py), and a pending
one if the consumer's schedule is edited before its run is created. The event itself stays recorded, with the runs that
it started: an event without any, older than the scheduler takes to create one, was dropped.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Event:
    """An asset event of one partition."""

    id: int
    partition: str
    at: datetime
    extra: Mapping[str, Any] = field(default_factory=dict)
    started: Collection[str] = ()
    """Ids of the runs that it started."""


def find_dropped(events: Iterable[Event], until: datetime, *, newest_only: bool = False) -> Sequence[Event]:
    """Return the dropped events, the oldest first: only the newest of a partition counts.

    Args:
        events: events of one asset with a single consumer.
        until: events after this time may still start a run.
        newest_only: only the newest event of all partitions counts: it stands for those before it.
    """
    newest: dict[str, Event] = {}
    for event in sorted(events, key=lambda each: (each.at, each.id)):
        newest["" if newest_only else event.partition] = event
    return [event for event in sorted(newest.values(), key=lambda e: e.at) if not event.started and event.at <= until]
