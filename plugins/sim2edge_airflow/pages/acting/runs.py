"""Start runs for a person, as *Trigger* of Airflow does, with the same checks; find those that do the same already."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from sim2edge_airflow import airflow_database as database
from sim2edge_airflow.pages.acting.action import Asker, Confirmed
from sim2edge_airflow.pages.trigger_guard import check_run


@dataclass(frozen=True)
class Wanted:
    """A run that is wanted."""

    dag_id: str
    partition: str | None = None
    conf: Mapping[str, Any] = field(default_factory=dict)

    @property
    def of_run(self) -> dict[str, Any]:
        """The conf of the run, without what is not set."""
        return {name: value for name, value in self.conf.items() if value not in (None, "", False)}


def going_on(asker: Asker, wanted: Wanted) -> tuple[str, str] | None:
    """Return in words that a queued or running run does the same, and the path of its page; None if none does."""
    active = database.active_runs(asker.session, wanted.dag_id, wanted.partition)
    same = without_reason(wanted.of_run)
    found = [(run, by) for run, _, by, conf in active if without_reason(conf) == same]
    return (f"{found[0][1]} has started this already", page_of(wanted.dag_id, found[0][0])) if found else None


def without_reason(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return a conf without what does not change what a run does."""
    return {name: value for name, value in conf.items() if name != "reason"}


def start(asker: Asker, wanted: Wanted, confirmed: Confirmed) -> str:
    """Start a run, and return the path of its page; the same form starts one run only.

    Raises:
        BadInput: there is a mistake in it, or its batch is withdrawn or taken.
    """
    if database.find_run(asker.session, wanted.dag_id, confirmed.run_id) is None:
        check_run(wanted.dag_id, wanted.partition, wanted.of_run)
        database.start_run(
            asker.session,
            wanted.dag_id,
            run_id=confirmed.run_id,
            partition=wanted.partition,
            conf=wanted.of_run,
            user=asker.user,
            note=f"{asker.user.get_name()}: {confirmed.reason}",
        )
        log(asker, f"start {wanted.dag_id}", confirmed, wanted.dag_id, confirmed.run_id, batch=wanted.partition)
    return page_of(wanted.dag_id, confirmed.run_id)


def log(asker: Asker, event: str, confirmed: Confirmed, dag_id: str = "", run_id: str = "", **more: Any) -> None:
    """Add what a person did, and why, to Airflow's audit log."""
    extra = json.dumps({"reason": confirmed.reason} | {name: value for name, value in more.items() if value})
    database.add_log(asker.session, f"sim2edge: {event}"[:60], asker.user.get_name(), extra, dag_id, run_id)


def page_of(dag_id: str, run_id: str) -> str:
    """Return the path of the page of a run, below the pages' own."""
    return f"/runs/{quote(dag_id, safe='')}/{quote(run_id, safe='')}"
