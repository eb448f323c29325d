"""The pools that bound what runs at once, and which of them a task goes to.

    capture    episodes and frames: stages that take all the cores they get, two slots each
    train      from dataset to release, two slots each
    backfill   whatever a backfill started, whichever stage it is: a live batch never waits for it

Their first sizes are `[sim2edge] pool_<name>` in airflow.cfg; from then on a person resizes them in the UI (Admin,
Pools). They are made when a part of Airflow that has the database starts (`on_starting`), and again when a task needs
one that somebody has removed: a task without a pool would wait for ever, and only the scheduler's log would say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from sim2edge_airflow import airflow_database as database
from sim2edge_airflow.number_settings import read_number

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from sqlalchemy.orm import Session

CAPTURE, TRAIN, BACKFILL = "capture", "train", "backfill"
POOLS = {
    CAPTURE: "Stages that make episodes and frames; two slots each.",
    TRAIN: "Stages from dataset to release; two slots each.",
    BACKFILL: "Whatever a backfill started, so that it never holds up a live batch.",
}
INFINITE = -1
"""Slots of a pool without a bound, as Airflow stores it."""

HEAD_WEIGHT, FOLLOWER_WEIGHT = -2, -1
"""Priority of a backfill's tasks: below all others; what makes a batch complete goes before what begins another."""


@dataclass(frozen=True)
class Place:
    """Where a task instance waits for its turn."""

    pool: str
    slots: int
    weight: int


def choose_place(declared: Place, is_backfill: bool, follows_backfill: bool) -> Place:
    """Where a task goes that declares `declared`, in a run of a backfill or in one that a backfill's batch started."""
    if is_backfill:
        return Place(BACKFILL, declared.slots, HEAD_WEIGHT)
    if follows_backfill:
        return Place(BACKFILL, declared.slots, FOLLOWER_WEIGHT)
    return declared


def fit_slots(wanted: int, size: int) -> int:
    """Return the slots a task takes of a pool of `size`: more than there are, and it would wait for ever."""
    return wanted if size == INFINITE else max(1, min(wanted, size))


def follows(sources_in_backfill: Sequence[bool]) -> bool:
    """Return whether a run follows a backfill.

    All that started it came of one. What a live batch started, too, is live.
    """
    return bool(sources_in_backfill) and all(sources_in_backfill)


def follows_backfill(run: "DagRun", session: "Session") -> bool:
    """Return whether the batch that started this run came of a backfill.

    A run of a backfill is known by its tasks' pool, so this holds for the runs after the next, too.
    """
    return follows(database.started_in_pool(session, run, BACKFILL))


def pool_size(name: str, session: "Session") -> int:
    """Return the slots of a pool; one of ours that is missing is made first."""
    size = database.pool_slots(session, name)
    if size is None and name in POOLS:
        make_pool(name, session)
        size = database.pool_slots(session, name)
    return INFINITE if size is None else size


def make_pool(name: str, session: "Session") -> None:
    """Add one of our pools with its first size, unless it is there: a size that somebody chose stays."""
    database.add_pool(session, name, int(read_number(f"pool_{name}", INFINITE, 100_000)), POOLS[name])


@hookimpl
def on_starting(component: Any) -> None:
    """Make the pools that are missing when the scheduler, or another part with the database, starts."""
    if type(component).__name__ != "Job":  # each task's process says so, too, and has no database
        return
    with database.open_session() as session:
        for name in POOLS:
            make_pool(name, session)
