"""Register new batches of the inbox: the task of the `watch_inbox` DAG (protocol: `sim2edge/arrivals.py`).

    RegisterOperator(task_id="register", outlet=DELIVERY, starts="ingest_batch")

Each registered batch emits an event of the outlet, with the batch as its partition. The log has a line for each batch
that was registered, refused, or found incomplete.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRuntimeError,
    AirflowSkipException,
)

from sim2edge import arrivals
from sim2edge.arrivals import DEFAULT_STAGE, Report, Survey
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Unavailable
from sim2edge.lines import quote
from sim2edge_airflow.connections import connect_bus
from sim2edge_airflow.number_settings import read_number

MAX_LINES = 50
"""Lines of one kind in a log: the inbox is writable by untrusted producers."""


class RegisterOperator(BaseOperator):
    """Registers each complete batch of the inbox once; skipped when none is new.

    Args:
        outlet: the asset that gets an event for each batch.
        starts: the DAG that those events start: while it is paused nothing is registered, because Airflow drops the
            events of a paused DAG.
        stage: the stage that it runs: only batches for it are registered.
    """

    ui_color = "#e4e4f4"

    def __init__(self, *, outlet: Asset, starts: str, stage: str = DEFAULT_STAGE, **kwargs: Any) -> None:
        # Also an inlet, because `Ledger` reads the events of earlier runs.
        super().__init__(outlets=[outlet], inlets=[outlet], **kwargs)
        self.outlet = outlet
        self.starts = starts
        self.stage = stage
        self.overdue = timedelta(minutes=read_number("inbox_overdue_minutes", 0, 1_000_000))

    def execute(self, context: Context) -> Sequence[str]:
        """Register the complete batches and return them.

        Raises:
            AirflowSkipException: nothing is new, or the DAG that takes the batches is paused.
            AirflowFailException: the run has a conf, access to the bus is denied, or a claim is damaged.
            AirflowException: S3 cannot be reached; the task is retried.
        """
        try:
            if given := sorted(context["params"]):
                raise BadInput(f"conf {quote(given[0])}: this DAG takes no conf: it finds new batches by itself")
            return self._register(connect_bus(), context)
        except BadInput as error:
            raise AirflowFailException(str(error)) from None
        except Unavailable as error:
            raise AirflowException(str(error)) from None

    def _register(self, bus: Bus, context: Context) -> Sequence[str]:
        if context["ti"].get_dag(self.starts).is_paused:
            found = arrivals.survey(bus, stage=self.stage)
            self._log_problems(found)
            raise AirflowSkipException(f"{self.starts} is paused: {len(found.complete)} complete batches wait for it")
        ledger = Ledger(context, self.outlet, self.starts)
        report = arrivals.register(bus, context["dag_run"].run_id, ledger, stage=self.stage)
        for batch in report.registered:
            before = report.taken_over.get(batch)
            self.log.info("registered %s%s", batch, f", which {before} had claimed and lost" if before else "")
        self._log_problems(report)
        if report.left:
            self.log.info("%d more batches are complete: the next run registers them", report.left)
        if not report.registered:
            raise AirflowSkipException("no new batch is complete")
        context["outlet_events"][self.outlet].add_partitions(list(report.registered))
        return report.registered

    def _log_problems(self, found: Survey | Report) -> None:
        if self.stage != DEFAULT_STAGE:  # one task reports them for all
            return
        for line in found.refused[:MAX_LINES]:
            self.log.warning("refused %s", line)
        for batch, since in sorted(found.incomplete.items(), key=lambda item: item[1])[:MAX_LINES]:
            age = datetime.now(UTC) - since
            how = f"inbox/{batch}: no READY.json, and nothing was written for {age.total_seconds() / 60:.0f} minutes"
            if age > self.overdue:
                self.log.warning("overdue %s", how)
            else:
                self.log.info("incomplete %s", how)
        beyond = [max(0, len(each) - MAX_LINES) for each in (found.refused, found.incomplete)]
        if hidden := sum(beyond) + found.more_incomplete:
            self.log.warning("and %d more refused or incomplete batches", hidden)


class Ledger:
    """The runs of this DAG by Airflow's records: see `arrivals.Scheduler`."""

    def __init__(self, context: Context, outlet: Asset, starts: str) -> None:
        self._task = context["ti"]
        self._starts = starts
        self._run = context["dag_run"].run_id
        self._was_cleared = self._task.max_tries > context["task"].retries
        self._events = context["inlet_events"][outlet]

    def has_ended(self, run: str) -> bool:
        """See `arrivals.Scheduler`."""
        return not self._task.get_dr_count(self._task.dag_id, run_ids=[run], states=["queued", "running"])

    def registered(self, run: str, since: datetime) -> Collection[str] | None:
        """See `arrivals.Scheduler`.

        Airflow 3.3 fails to list the events of an asset while a run that one of them started is queued: return None
        then, without a request.
        """
        if run == self._run and not self._was_cleared:
            return set()  # no try of this run has succeeded yet
        if self._task.get_dr_count(self._starts, states=["queued"]):
            return None
        try:
            events = list(self._events.after(since.isoformat()))
        except AirflowRuntimeError:
            return None
        return {event.partition_key for event in events if event.source_run_id == run and event.partition_key}
