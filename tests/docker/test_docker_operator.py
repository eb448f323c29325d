"""How a container ends decides how its task does; what the task shows; what a retry finds. A real engine and S3."""

import json
import sys
import time
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Context
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from sim2edge_airflow.operators.stage_operator import StageOperator
from sim2edge_airflow.runtimes.docker_runtime import DockerRuntime

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("stages_file")]


@pytest.fixture(autouse=True)
def outside_of_a_task_runner(monkeypatch, bus):
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)


class Task:
    """A task instance as its operator sees it, over several tries."""

    def __init__(self, partition: str) -> None:
        self.partition = partition
        self.store: dict[str, Any] = {}
        self.xcoms: dict[str, Any] = {}
        self.tries = 0

    def run(self, stage: str, **arguments: Any) -> StageOperator:
        self.tries += 1
        operator = StageOperator(stage=stage, execution_timeout=timedelta(minutes=2), **arguments)
        instance = SimpleNamespace(
            dag_id="dag",
            run_id=self.partition,
            task_id=stage,
            map_index=-1,
            try_number=self.tries,
            xcom_push=lambda key, value: self.xcoms.update({key: value}),
            stats_tags={},
        )
        operator.execute(
            Context(
                ti=instance,
                dag_run=SimpleNamespace(dag_id="dag", partition_key=self.partition, run_type="manual"),
                params={},
                triggering_asset_events={},
                outlet_events=defaultdict(SimpleNamespace),
                task_state_store=SimpleNamespace(get=self.store.get, set=self.store.__setitem__),
            )
        )
        return operator


@pytest.fixture
def task(partition):
    return Task(partition)


def test_a_stage_that_commits_gives_its_artifact_and_shows_no_secret(bus, task, s3_server, capsys):
    operator = task.run("capture")
    assert bus.open(operator.artifact).kind == "episodes"
    shown = repr([getattr(operator, field) for field in operator.template_fields]) + json.dumps(task.store)
    assert s3_server.secret_key not in shown + capsys.readouterr().out


def test_bad_input_is_not_retried(behave, task):
    behave(capture="bad input")
    with pytest.raises(AirflowFailException, match=r"^clean\.width: input should be greater than 0$"):
        task.run("capture")


@pytest.mark.parametrize(
    ("behaviour", "says"), [("ahead", r": version is \d+ \(planned: \d+\)$"), ("commit nothing", "is not on the bus")]
)
def test_an_image_that_does_not_make_what_was_planned_is_not_believed(bus, behave, task, behaviour, says):
    behave(capture=behaviour)
    with pytest.raises(AirflowFailException, match=says):
        task.run("capture")
    assert list(bus.artifacts("episodes", task.partition)) == []


def test_a_refusal_is_skipped_with_its_reason(behave, task):
    behave(capture="refuse")
    with pytest.raises(AirflowSkipException, match=r"refused: floor_accuracy 0\.61 is below 0\.95"):
        task.run("capture")
    assert task.xcoms["refused"]["artifact"].startswith("episodes/")


def test_out_of_memory_says_which_limit(behave, task, stages_file):
    behave(capture="hog")
    stages_file(memory_mb=96)
    with pytest.raises(AirflowException, match="exit code 137: out of memory: limit 96 MB") as caught:
        task.run("capture")
    assert not isinstance(caught.value, AirflowFailException)


def test_a_missing_image_is_not_retried(task, stages_file):
    stages_file(image="sim2edge/absent:1")
    with pytest.raises(AirflowFailException, match="image 'sim2edge/absent:1' is not on the engine: `make images`"):
        task.run("capture")


def test_an_engine_that_does_not_answer_is_retried(task, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with pytest.raises(AirflowException, match="the Docker engine does not answer at unix://") as caught:
        task.run("capture")
    assert not isinstance(caught.value, AirflowFailException)


def test_a_task_that_is_interrupted_takes_its_container_with_it(behave, task, monkeypatch):
    behave(capture="wait")

    class TimeIsUp(BaseException):
        """As Airflow ends a task that takes too long."""

    def interrupted(self: Any, line: str) -> None:
        raise TimeIsUp

    monkeypatch.setattr("sim2edge_airflow.operators.stage_output.StageOutput.hear", interrupted)
    with pytest.raises(TimeIsUp):
        task.run("capture")


def test_a_task_that_is_killed_while_it_starts_its_container_leaves_none(task, monkeypatch):
    submit = DockerRuntime.submit
    operators: list[StageOperator] = []

    def killed_in_between(self: DockerRuntime, job: Any) -> str:
        operators[0].on_kill()
        return submit(self, job)

    prepare = StageOperator._prepare

    def remembering(self: StageOperator, *arguments: Any) -> None:
        operators.append(self)
        prepare(self, *arguments)

    monkeypatch.setattr(StageOperator, "_prepare", remembering)
    monkeypatch.setattr(DockerRuntime, "submit", killed_in_between)
    with pytest.raises(AirflowException, match="was ended while it was being started"):
        task.run("capture")


class Killed(BaseException):
    """Stands for `kill -9` of the task: nothing of it runs afterwards."""


def kill_after_submit(task: Task, stage: str, monkeypatch: pytest.MonkeyPatch, saved: bool) -> None:
    """A try whose process dies when its container runs: after Airflow has saved the container's name, or before."""

    def die(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(StageOperator, "poll_until_complete", die)
        with pytest.raises(Killed):
            task.run(stage)
    if not saved:
        task.store.clear()


@pytest.mark.parametrize("saved", [True, False], ids=["name saved", "name not saved"])
def test_a_retry_goes_on_with_the_container_and_its_log(behave, task, monkeypatch, capsys, engine, saved):
    behave(capture="wait")
    kill_after_submit(task, "capture", monkeypatch, saved)
    (running,) = engine.containers.list(filters={"label": f"sim2edge.run={task.partition}"})
    behave.go()
    operator = task.run("capture")
    logged = capsys.readouterr().out
    assert operator.artifact
    assert f"Resuming {running.id}" in logged
    assert logged.index("first line") < logged.index("last line")


def test_a_retry_takes_the_verdict_of_a_container_that_ended_meanwhile(behave, task, monkeypatch, engine, capsys):
    behave(capture="refuse")
    kill_after_submit(task, "capture", monkeypatch, saved=True)
    (running,) = engine.containers.list(all=True, filters={"label": f"sim2edge.run={task.partition}"})
    running.wait()
    with pytest.raises(AirflowSkipException, match="refused: floor_accuracy"):
        task.run("capture")


def test_a_retry_runs_anew_what_crashed_meanwhile(behave, bus, task, monkeypatch, engine):
    behave(capture="crash")
    kill_after_submit(task, "capture", monkeypatch, saved=True)
    (running,) = engine.containers.list(all=True, filters={"label": f"sim2edge.run={task.partition}"})
    running.wait()
    behave()
    assert bus.exists(task.run("capture").artifact)


def test_a_retry_with_other_settings_does_not_wait_for_the_old_container(behave, bus, task, monkeypatch):
    behave(capture="wait")
    kill_after_submit(task, "capture", monkeypatch, saved=True)
    behave()
    assert bus.exists(task.run("capture", overrides=["episodes=7"]).artifact)


def test_a_result_that_was_committed_meanwhile_is_a_cache_hit_and_its_container_goes(task, monkeypatch, engine):
    kill_after_submit(task, "capture", monkeypatch, saved=True)
    (running,) = engine.containers.list(all=True, filters={"label": f"sim2edge.run={task.partition}"})
    running.wait()
    assert task.run("capture").outcome == "cached: saved 12.5 s, 0.0 MB"


def test_a_container_costs_little_more_than_a_process(partition, tmp_path, monkeypatch, capsys):
    """The same trivial stage both ways, the best of several: a loaded machine is no measure."""
    python = tmp_path / "python"
    fake = Path(__file__).parents[1] / "plugins" / "fake_stage.py"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {fake} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "behaviours.json").write_text("{}")
    monkeypatch.setenv("SIM2EDGE_STAGE_PYTHON", str(python))
    monkeypatch.setenv("SIM2EDGE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("FAKE_STAGE", str(tmp_path / "behaviours.json"))
    took: dict[str, float] = {}
    for number in range(4):
        for runtime in ("process", "docker"):
            monkeypatch.setenv("AIRFLOW__SIM2EDGE__RUNTIME", runtime)
            began = time.monotonic()
            Task(f"{partition}-{runtime}-{number}").run("capture")
            took[runtime] = min(took.get(runtime, 1e9), time.monotonic() - began)
    with capsys.disabled():
        print(f"\n    a trivial stage: process {took['process']:.2f} s, container {took['docker']:.2f} s", end=" ")
    assert took["docker"] - took["process"] < 1.5, "1.0 on a machine that does nothing else"
