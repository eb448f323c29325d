"""Which containers have to go: decided by what Airflow says of their tasks, without an engine."""

from typing import Any

import pytest

from sim2edge_airflow.operators.reap_operator import runtimes_used
from sim2edge_airflow.runtimes.container_reaper import ABSENT, Container, find_orphaned, why_orphaned

LABELS = {"dag": "d", "run": "r", "task": "train", "map_index": "-1", "try": "1", "artifact": "model/b/1"}


def container(status: str = "running", age_s: float = 900, ended_s: float | None = None, **labels: str) -> Container:
    return Container("0123456789abcdef", {**LABELS, **labels}, status, age_s, ended_s)


@pytest.mark.parametrize("state", ["running", "queued", "scheduled", "up_for_retry", "restarting", "deferred", None])
@pytest.mark.parametrize("ended_s", [None, 60])
def test_a_task_that_may_come_for_its_container_keeps_it(state, ended_s):
    assert why_orphaned(container("exited" if ended_s else "running", ended_s=ended_s), state) is None


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "upstream_failed", "removed"])
@pytest.mark.parametrize("status", ["running", "created", "exited", "paused", "dead"])
def test_a_task_that_has_ended_comes_for_nothing(state, status):
    assert why_orphaned(container(status), state) == f"its task has ended: {state}"


def test_a_deleted_run_has_no_containers():
    assert why_orphaned(container(), ABSENT) == "its DAG run is gone"


@pytest.mark.parametrize("state", [ABSENT, "failed", "running"])
def test_a_young_container_is_left_alone(state):
    assert why_orphaned(container(age_s=59), state) is None


def test_one_that_was_never_started_or_that_no_try_came_for_goes_even_if_its_task_lives():
    assert why_orphaned(container("created"), "running") == "it was never started"
    assert why_orphaned(container("created", age_s=599), "running") is None
    assert (
        why_orphaned(container("exited", 9000, ended_s=3700), "up_for_retry")
        == "it ended 62 minutes ago and no retry resumed it"
    )


def test_airflow_is_asked_once_a_dag_and_knows_mapped_tasks_by_their_index():
    asked: list[Any] = []

    def states_of(dag: str, runs: list[str]) -> dict[str, dict[str, str | None]]:
        asked.append((dag, runs))
        return {"r": {"train": "running", "shard_3": "failed", "shard_4": "running"}} if dag == "d" else {}

    containers = [
        container(),
        container(task="shard", map_index="3"),
        container(task="shard", map_index="4"),
        container(run="deleted"),
        container(dag="of a file that was removed"),
    ]
    orphaned = find_orphaned(containers, states_of)
    assert asked == [("d", ["deleted", "r"]), ("of a file that was removed", ["r"])]
    assert [(each.task, reason) for each, reason in orphaned] == [
        ("shard_3", "its task has ended: failed"),
        ("train", "its DAG run is gone"),
        ("train", "its DAG run is gone"),
    ]


def test_what_is_said_of_a_container_names_its_task_and_artifact():
    said = str(container("exited", task="shard", map_index="3"))
    assert said == "0123456789ab (exited, d/r/shard_3, try 1, model/b/1)"


@pytest.mark.parametrize(
    ("runtime", "stages", "used"),
    [
        ("process", "{}", {"process"}),
        ("docker", "{}", {"docker"}),
        ("process", "train: {runtime: kubernetes}", {"process", "kubernetes"}),
    ],
)
def test_what_is_reaped_is_where_stages_run(monkeypatch, tmp_path, runtime, stages, used):
    (tmp_path / "stages.yaml").write_text(stages)
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__RUNTIME", runtime)
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__STAGES", str(tmp_path / "stages.yaml"))
    assert runtimes_used() == used
