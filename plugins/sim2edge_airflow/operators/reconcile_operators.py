"""Emit dropped asset events again: the tasks of the `reconcile` DAG.

    reconcile(EPISODES, starts="data_cleaning", makes="frames")

Task `find_data_cleaning` reads the events of the asset, with the runs that they started, from Airflow's records, and
returns those that were dropped (`scheduling/dropped_events.py`). Task `start_data_cleaning`, mapped, emits each again,
with the same batch and settings; an event that is dropped again is found by the next run. Events whose fate is known
are not read again: the time until which all are settled is kept in Airflow's asset state store.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSkipException

from sim2edge.bus import Bus
from sim2edge.withdrawal import Withdrawn
from sim2edge_airflow.connections import connect_bus
from sim2edge_airflow.number_settings import read_number
from sim2edge_airflow.operators.failures import plainly
from sim2edge_airflow.scheduling.dropped_events import Event, find_dropped

SETTLED = "reconciled_until"
"""Key in the asset state store: every event before this time is settled."""
FIRST_LOOK = timedelta(days=30)
"""Age of the oldest events that the first run checks."""
MAX_EVENTS = 1000
"""Events emitted again by one run; Airflow maps at most `[core] max_map_length` tasks."""


def reconcile(asset: Asset, *, starts: str, makes: str | None = None, newest_only: bool = False) -> None:
    """Add the two tasks for one asset to the DAG; the arguments are those of `FindDropped`."""
    found = FindDropped(
        task_id=f"find_{starts}",
        asset=asset,
        starts=starts,
        makes=makes,
        newest_only=newest_only,
        doc_md=f"Finds events of `{asset.name}` that have started no run of `{starts}`.",
    )
    EmitAgain.partial(
        task_id=f"start_{starts}",
        outlets=[asset],
        doc_md=f"Emits an event of `{asset.name}` again, so that it starts its run of `{starts}`.",
    ).expand(event=found.output)


class FindDropped(BaseOperator):
    """Returns the dropped events of an asset; skipped when there is none.

    Args:
        asset: the asset.
        starts: the DAG that its events start, their only consumer. While it is paused, nothing is returned.
        makes: the kind of artifact that the DAG makes of an event's; where it exists, no run is needed.
        newest_only: whether only the newest event of all batches counts.
    """

    ui_color = "#e4e4f4"

    def __init__(self, *, asset: Asset, starts: str, makes: str | None, newest_only: bool, **kwargs: Any) -> None:
        super().__init__(inlets=[asset], **kwargs)
        self.asset = asset
        self.starts = starts
        self.makes = makes
        self.newest_only = newest_only
        self.grace = timedelta(minutes=read_number("reconcile_after_minutes", 0.01, 1440))

    def execute(self, context: Context) -> Sequence[dict[str, Any]]:
        """Return batch and `extra` of each dropped event, the oldest first.

        Raises:
            AirflowSkipException: no event was dropped, or the DAG is paused, or its queued runs prevent the check.
            AirflowFailException: access to the bus is denied.
            AirflowException: S3 cannot be reached; the task is retried.
        """
        if context["ti"].get_dag(self.starts).is_paused:
            raise AirflowSkipException(f"{self.starts} is paused: what it misses is started once it is not")
        dropped = plainly(lambda: self._find(context))
        if not dropped:
            raise AirflowSkipException(f"every event of {self.asset.name} has started its run of {self.starts}")
        for event in dropped:
            self.log.warning("%s of %s: its event of %s was dropped", self.starts, event.partition, event.at)
        return [{"batch": event.partition, "extra": dict(event.extra)} for event in dropped]

    def _find(self, context: Context) -> Sequence[Event]:
        store, until = context["asset_state_store"][self.asset], datetime.now(UTC) - self.grace
        since = str(store.get(SETTLED) or (until - FIRST_LOOK).isoformat())
        found = find_dropped(self._read_events(context, since), until, newest_only=self.newest_only)
        dropped = [event for event in found if not self._is_done(event)][:MAX_EVENTS]
        store.set(SETTLED, min(event.at for event in [*dropped, Event(0, "", until)]).isoformat())
        return dropped

    def _read_events(self, context: Context, since: str) -> Sequence[Event]:
        """Return the asset's events with a partition.

        Airflow 3.3 fails to list the events of an asset while a run that one of them started is queued.

        Raises:
            AirflowSkipException: such a run is queued.
        """
        queued = context["ti"].get_dr_count(self.starts, states=["queued"])
        try:
            found = [] if queued else list(context["inlet_events"][self.asset].after(since))
        except AirflowRuntimeError:
            queued = 1
        if queued:
            raise AirflowSkipException(f"a run of {self.starts} is queued: checked again by the next run")
        return [
            Event(
                each.id, each.partition_key, each.timestamp, each.extra or {}, [r.run_id for r in each.created_dagruns]
            )
            for each in found
            if each.partition_key
        ]

    def _is_done(self, event: Event) -> bool:
        record = None if self.newest_only else Withdrawn(connect_bus()).get(event.partition)
        if record:
            self.log.info("%s of %s: no run is needed: the batch was %s", self.starts, event.partition, record.why)
            return True
        made = find_made(connect_bus(), self.makes, event) if self.makes else None
        if made:
            self.log.info("%s of %s: no run is needed: %s exists", self.starts, event.partition, made)
        return bool(made)


class EmitAgain(BaseOperator):
    """Emits an event of its outlet again.

    Args:
        event: `batch` and `extra` of the event.
    """

    template_fields = ("event",)
    map_index_template = "{{ task.event['batch'] }}"
    ui_color = "#e4e4f4"

    def __init__(self, *, event: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event = event

    def execute(self, context: Context) -> None:
        """Emit the event."""
        (asset,) = self.outlets
        context["outlet_events"][asset].extra = self.event["extra"]
        context["outlet_events"][asset].add_partitions(self.event["batch"])


def find_made(bus: Bus, kind: str, event: Event) -> str | None:
    """Return an artifact of `kind` made from the artifact of an event; None if there is none.

    A run started by hand may have made it.
    """
    source = event.extra.get("reference")
    made = bus.manifests(kind, event.partition) if source else ()
    return next((each.reference for each in made if any(source in given for given in each.inputs.values())), None)
