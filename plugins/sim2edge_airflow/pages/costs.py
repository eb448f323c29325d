"""Sum up what artifacts took, and what cached results saved, for the pages.

What an artifact took comes from the catalog; what its runs saved from the XComs `outcome` of Airflow's tasks: a cached
task saves the time that its artifact took when it was made.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sim2edge.catalog import Catalog, Record, is_number
from sim2edge.cost import Total, find_cached, took, total
from sim2edge_airflow import airflow_database as database
from sim2edge_airflow.pages.bus_view import is_reference
from sim2edge_airflow.pages.run_states import STAGE_OF_TASK, plain

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MAX_OUTCOMES = 2000
"""Tasks whose outcome is read: the newest."""
KEPT = 256


@dataclass(frozen=True)
class Bill:
    """What an artifact took: itself, with all that it was made from, and the part of it that was there already."""

    own: Total
    whole: Total
    cached: Total

    @property
    def new_wall_s(self) -> float:
        """Seconds of what was not there already."""
        return self.whole.wall_s - self.cached.wall_s


@dataclass(frozen=True)
class Savings:
    """What cached tasks saved."""

    tasks: int
    cached: int
    wall_s: float
    cpu_s: float
    bytes: int


def bill(catalog: Catalog, reference: str) -> Bill | None:
    """Return what an artifact took; None if the catalog does not list it."""
    return _bill(catalog, catalog.changes, reference)


@lru_cache(KEPT)
def _bill(catalog: Catalog, _changes: int, reference: str) -> Bill | None:
    record = catalog.get(reference)
    if record is None:
        return None
    records = took(catalog, reference)
    return Bill(total([record]), total(records), total(find_cached(catalog, records)))


def find_savings(session: "Session", catalog: Catalog, batch: str | None = None) -> Savings:
    """Return what the newest cached tasks of Airflow saved, those of one batch or all."""
    rows = database.outcome_rows(session, STAGE_OF_TASK, batch, MAX_OUTCOMES)
    return sum_savings(catalog, [plain(value) for _, value in rows])


def sum_savings(catalog: Catalog, outcomes: Iterable[Any]) -> Savings:
    """Return what cached tasks saved, by their outcomes; CPU time by the records of their artifacts."""
    known = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    cached = [outcome for outcome in known if outcome.get("cached") is True]
    records = [find_record(catalog, outcome.get("reference")) for outcome in cached]
    seconds = [as_number(outcome.get("saved_s")) for outcome in cached]
    whole = [record.wall_s if record else 0.0 for record in records]
    return Savings(
        tasks=len(known),
        cached=len(cached),
        wall_s=sum(seconds),
        cpu_s=sum(
            record.cpu_s * min(saved / wall, 1.0) if wall else 0.0
            for record, saved, wall in zip(records, seconds, whole, strict=True)
            if record
        ),
        bytes=int(sum(as_number(outcome.get("saved_bytes")) for outcome in cached)),
    )


def find_record(catalog: Catalog, reference: Any) -> Record | None:
    """Return the record of an artifact; None if there is none, or the value is no reference."""
    return catalog.get(reference) if is_reference(reference) else None


def as_number(value: Any) -> float:
    """Return the value if it is a number of 0 or more, else 0: an XCom may contain anything."""
    return float(value) if is_number(value) and not isinstance(value, bool) and value > 0 else 0.0
