"""Remove orphaned containers of this deployment: their worker was killed and their task was never retried.

Labels tie a container to a task instance, whose state decides whether it is orphaned (`why_orphaned`): no names, no
separate registry, and no effect on other deployments of the same engine. A task's own `on_kill`, as DockerOperator has
it, is not enough: https://github.com/apache/airflow/issues/56149.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from docker.errors import NotFound

from sim2edge_airflow.connections import docker_connection
from sim2edge_airflow.deployment_settings import read_deployment
from sim2edge_airflow.runtimes.container_spec import LABEL, owner_filter
from sim2edge_airflow.runtimes.docker_engine import connect, engine_errors
from sim2edge_airflow.runtimes.docker_runtime import remove_container

GRACE_S = 60
"""A younger container is kept: its task may be about to start it."""
STARTING_S = 600
"""A container created this long ago and never started has lost its task."""
KEPT_S = 3600
"""Seconds an exited container is kept for the next try, which reads its log and exit code."""
ENDED_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
ABSENT = "absent"
"""The state of a deleted task instance: its DAG run was deleted, or the task left the DAG."""

StatesOfRuns = Callable[[str, list[str]], Mapping[str, Mapping[str, str | None]]]
"""Maps DAG id and run ids to run id to task id (`_<map index>` appended if mapped) to state, as Airflow returns it."""


@dataclass(frozen=True)
class Container:
    """The properties of a stage container that decide whether it is orphaned."""

    id: str
    labels: Mapping[str, str]
    """Without prefix: dag, run, task, map_index, stage, try, artifact."""
    status: str
    """The engine's status: created, running, exited, ..."""
    age_s: float
    """Seconds since it was created."""
    ended_s: float | None
    """Seconds since it ended; None while it has not."""

    @property
    def task(self) -> str:
        """The id of its task, as a key of `StatesOfRuns`."""
        index = self.labels.get("map_index", "-1")
        return self.labels.get("task", "") + ("" if index == "-1" else f"_{index}")

    def __str__(self) -> str:
        owner = "/".join(self.labels.get(name, "?") for name in ("dag", "run")) + f"/{self.task}"
        return f"{self.id[:12]} ({self.status}, {owner}, try {self.labels.get('try')}, {self.labels.get('artifact')})"


def why_orphaned(container: Container, state: str | None) -> str | None:
    """Return why a container is orphaned, given the state of its task instance; None if it is not.

    A task that is running, pending or to be retried removes its container by itself.
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
        return f"it ended {container.ended_s / 60:.0f} minutes ago and no retry resumed it"
    return None


def find_orphaned(containers: Iterable[Container], states_of: StatesOfRuns) -> list[tuple[Container, str]]:
    """Return the orphaned containers, each with the reason; call `states_of` once per DAG."""
    by_dag: dict[str, list[Container]] = {}
    for container in containers:
        by_dag.setdefault(container.labels.get("dag", ""), []).append(container)
    orphaned = []
    for dag, theirs in by_dag.items():
        states = states_of(dag, sorted({each.labels.get("run", "") for each in theirs}))
        for each in theirs:
            reason = why_orphaned(each, states.get(each.labels.get("run", ""), {}).get(each.task, ABSENT))
            if reason:
                orphaned.append((each, reason))
    return orphaned


def reap(states_of: StatesOfRuns, dry_run: bool = False) -> list[str]:
    """Remove orphaned containers with their volumes, and return a line for each.

    Args:
        states_of: returns the states of Airflow's tasks.
        dry_run: list what would be removed, and remove nothing.

    Raises:
        Unavailable: the engine does not answer.
        BadInput: this user is not permitted to use the engine.
    """
    connection = docker_connection()
    engine = connect(connection)
    with engine_errors("the engine", connection):
        found = engine.api.containers(all=True, filters=owner_filter({"deployment": read_deployment()}))
        containers = [each for each in (_look(engine, one["Id"]) for one in found) if each]
        orphaned = find_orphaned(containers, states_of)  # after the listing, so that no state is older than it
        for container, _ in orphaned:
            if not dry_run:
                remove_container(engine, container.id)
    return [f"{'would remove' if dry_run else 'removed'} {container}: {reason}" for container, reason in orphaned]


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
