"""Choose the pool, slots and priority of each task, and create the pools.

    capture    episodes and frames: stages that use every core they get, two slots each
    train      from dataset to release, two slots each
    backfill   every task that a backfill started, of any stage: a live batch never waits for it

Their initial sizes are `[sim2edge] pool_<name>` in airflow.cfg; from then on they are resized in the UI (Admin, Pools).
They are created when an Airflow component with database access starts (`on_starting`), and recreated when a task needs
one that was deleted: a task without a pool would wait for ever, and only the scheduler's log would show it.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from sim2edge.errors import BadInput
from sim2edge_airflow import airflow_database as database
from sim2edge_airflow.number_settings import read_number

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from sqlalchemy.orm import Session

LOG = logging.getLogger(__name__)

CAPTURE, TRAIN, BACKFILL = "capture", "train", "backfill"
POOLS = {
    CAPTURE: "Stages that make episodes and frames; two slots each.",
    TRAIN: "Stages from dataset to release; two slots each.",
    BACKFILL: "Tasks started by a backfill, so that they never hold up a live batch.",
}
DEFAULT_SLOTS = 2
INFINITE = -1
"""Slots of an unlimited pool, as Airflow stores it."""

HEAD_WEIGHT, FOLLOWER_WEIGHT = -2, -1
"""Priority of a backfill's tasks: below all others; tasks that complete a batch go before those that begin one."""


@dataclass(frozen=True)
class Place:
    """The pool, slots and priority of a task instance."""

    pool: str
    slots: int
    weight: int


def choose_place(declared: Place, is_backfill: bool, follows_backfill: bool) -> Place:
    """Return where a task is queued: as declared, or in the backfill pool if its run belongs to or follows one."""
    if is_backfill:
        return Place(BACKFILL, declared.slots, HEAD_WEIGHT)
    if follows_backfill:
        return Place(BACKFILL, declared.slots, FOLLOWER_WEIGHT)
    return declared


def fit_slots(wanted: int, size: int) -> int:
    """Return the wanted slots, at most the pool's size: a task that wants more would wait for ever."""
    return wanted if size == INFINITE else max(1, min(wanted, size))


def follows(sources_in_backfill: Sequence[bool]) -> bool:
    """Return whether a run follows a backfill: every event that started it came from one.

    A run that a live batch started as well is live.
    """
    return bool(sources_in_backfill) and all(sources_in_backfill)


def follows_backfill(run: "DagRun", session: "Session") -> bool:
    """Return whether the batch that started this run came from a backfill.

    Runs of a backfill are recognized by their tasks' pool, so this holds further down the chain, too.
    """
    return follows(database.started_in_pool(session, run, BACKFILL))


def pool_size(name: str, session: "Session") -> int:
    """Return the slots of a pool; create it first if it is one of ours and missing."""
    size = database.pool_slots(session, name)
    if size is None and name in POOLS:
        make_pool(name, session)
        size = database.pool_slots(session, name)
    return INFINITE if size is None else size


def make_pool(name: str, session: "Session") -> None:
    """Create one of our pools with its initial size, unless it exists: a size chosen in the UI stays."""
    database.add_pool(session, name, initial_size(name), POOLS[name])


def initial_size(name: str) -> int:
    """Return the slots that `[sim2edge] pool_<name>` sets; log an invalid value and return the default.

    An error here would end the scheduler, which creates a missing pool while it creates a run.
    """
    try:
        return int(read_number(f"pool_{name}", INFINITE, 100_000))
    except BadInput as error:
        LOG.error("%s; the pool gets %d slots", error, DEFAULT_SLOTS)
        return DEFAULT_SLOTS


@hookimpl
def on_starting(component: Any) -> None:
    """Create missing pools when the scheduler, or another component with database access, starts."""
    if type(component).__name__ != "Job":  # task processes call this too, and have no database
        return
    with database.open_session() as session:
        for name in POOLS:
            make_pool(name, session)
