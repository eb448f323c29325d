"""Removes containers of this deployment that no task owns any more: a worker was killed and its task never tried again.

A container belongs to a task instance by its labels. What happens to it is decided by how that instance is (`doom`); no
name, no list that somebody keeps, and nothing of other deployments on the same engine. A task's own `on_kill` is not
enough, as DockerOperator has it: https://github.com/apache/airflow/issues/56149.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow.sdk.configuration import conf
from docker.errors import NotFound

from sim2edge_airflow.connections import docker_connection
from sim2edge_airflow.runtimes.container_spec import LABEL, owner_filter
from sim2edge_airflow.runtimes.docker_engine import connect, engine_errors
from sim2edge_airflow.runtimes.docker_runtime import remove_container

GRACE_S = 60
"""A container younger than this is left alone: its task may just be starting it."""
STARTING_S = 600
"""A container that was created, and not started for so long, lost its task in between."""
KEPT_S = 3600
"""How long one that ended is kept for the next try, which wants its log and exit code."""
ENDED_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
ABSENT = "absent"
"""The state of a task instance that there is no more: its DAG run was deleted, or the task left the DAG."""

StatesOfRuns = Callable[[str, list[str]], Mapping[str, Mapping[str, str | None]]]
"""DAG id and run ids to run id to task id (with `_<map index>`, if it is mapped) to state, as Airflow gives it."""


@dataclass(frozen=True)
class Container:
    """One stage container, as far as its fate depends on it."""

    id: str
    labels: Mapping[str, str]
    """Without prefix: dag, run, task, map_index, stage, try, artifact."""
    status: str
    """As the engine says: created, running, exited, ..."""
    age_s: float
    """Since it was created."""
    ended_s: float | None
    """Since it ended; None while it has not."""

    @property
    def task(self) -> str:
        """Its task as Airflow's table of states names it."""
        index = self.labels.get("map_index", "-1")
        return self.labels.get("task", "") + ("" if index == "-1" else f"_{index}")

    def __str__(self) -> str:
        owner = "/".join(self.labels.get(name, "?") for name in ("dag", "run")) + f"/{self.task}"
        return f"{self.id[:12]} ({self.status}, {owner}, try {self.labels.get('try')}, {self.labels.get('artifact')})"


def doom(container: Container, state: str | None) -> str | None:
    """Return why a container has to go, given the state of its task instance; None: it stays.

    A task that runs, waits, or is to be tried again comes for its container by itself.
    """
    if container.age_s < GRACE_S:
        return None
    if state == ABSENT:
        return "its DAG run is gone"
    if state in ENDED_STATES:
        return f"its task has ended: {state}"
    if container.status == "created" and container.age_s > STARTING_S:
        return "it was never started"
    if container.ended_s is not None and container.ended_s > KEPT_S:
        return f"it ended {container.ended_s / 60:.0f} minutes ago and no try came for it"
    return None


def find_doomed(containers: Iterable[Container], states_of: StatesOfRuns) -> list[tuple[Container, str]]:
    """Return the containers that have to go, each with the reason. Airflow is asked once a DAG, after the engine."""
    by_dag: dict[str, list[Container]] = {}
    for container in containers:
        by_dag.setdefault(container.labels.get("dag", ""), []).append(container)
    doomed = []
    for dag, theirs in by_dag.items():
        states = states_of(dag, sorted({each.labels.get("run", "") for each in theirs}))
        for each in theirs:
            reason = doom(each, states.get(each.labels.get("run", ""), {}).get(each.task, ABSENT))
            if reason:
                doomed.append((each, reason))
    return doomed


def reap(states_of: StatesOfRuns, dry_run: bool = False) -> list[str]:
    """Remove what no task owns, with its volumes; returns a line for each container that was removed.

    Args:
        states_of: asks Airflow.
        dry_run: say what would be removed, and remove nothing.

    Raises:
        Unavailable: the engine does not answer.
        BadInput: this user may not use the engine.
    """
    connection = docker_connection()
    engine = connect(connection)
    with engine_errors("the engine", connection):
        found = engine.api.containers(
            all=True, filters=owner_filter({"deployment": conf.get("sim2edge", "deployment")})
        )
        containers = [each for each in (_look(engine, one["Id"]) for one in found) if each]
        doomed = find_doomed(containers, states_of)
        for container, _ in doomed:
            if not dry_run:
                remove_container(engine, container.id)
    return [f"{'would remove' if dry_run else 'removed'} {container}: {reason}" for container, reason in doomed]


def _look(engine: Any, container: str) -> Container | None:
    try:
        state = engine.api.inspect_container(container)
    except NotFound:
        return None
    now, how = time.time(), state["State"]
    ended = None if how["Running"] or how["Status"] == "created" else now - _time(how["FinishedAt"])
    labels = {
        name.removeprefix(LABEL): value for name, value in state["Config"]["Labels"].items() if name.startswith(LABEL)
    }
    return Container(state["Id"], labels, how["Status"], now - _time(state["Created"]), ended)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
