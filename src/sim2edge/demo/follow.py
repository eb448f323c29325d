"""Follows the runs that one trigger sets off, DAG after DAG, and shows each stage's state as it changes."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sim2edge.demo.airflow_client import AirflowClient
from sim2edge.errors import Unavailable

PIPELINE = {
    "sim_capture": ("capture",),
    "data_cleaning": ("clean",),
    "train_model": ("augment", "train", "validate"),
    "release_model": ("export", "push"),
}
"""The DAGs in the order in which each sets off the next, with their stages."""

FINISHED = {"success", "failed", "skipped", "upstream_failed", "removed"}
PROGRESS_LINE = re.compile(r"\b\d+/\d+\b.*")
SECONDS_BETWEEN_POLLS = 1.0


@dataclass(frozen=True)
class StageState:
    """Where one stage of the pipeline is."""

    dag: str
    stage: str
    state: str = "waiting"
    seconds: float | None = None
    reference: str | None = None
    detail: str = ""
    run: str | None = None
    attempt: int = 1

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it in this run."""
        return self.state in FINISHED


def start_states() -> list[StageState]:
    """Every stage, waiting."""
    return [StageState(dag, stage) for dag, stages in PIPELINE.items() for stage in stages]


def describe_task(state: StageState, run: str, task: Mapping[str, Any]) -> StageState:
    """`state` brought up to what Airflow says of the task instance."""
    return replace(
        state,
        run=run,
        state=task["state"] or "waiting",
        seconds=task["duration"],
        attempt=max(1, task["try_number"]),
    )


def describe_shards(state: StageState, run: str, shards: Sequence[Mapping[str, Any]]) -> StageState:
    """`state` of a stage that waits for its shards: how many of them there are yet."""
    done = sum(shard["state"] == "success" for shard in shards)
    busy = sum(shard["state"] == "running" for shard in shards)
    began = busy + done > 0
    detail = f"{done}/{len(shards)} shards, {busy} running"
    return replace(state, run=run, state="running" if began else state.state, detail=detail if began else "")


def include_shards(state: StageState, task: Mapping[str, Any], shards: Sequence[Mapping[str, Any]]) -> StageState:
    """`state` of a stage that was gathered: its seconds count from the start of its first shard."""
    began = [datetime.fromisoformat(each["start_date"]) for each in shards if each["start_date"]]
    if not began or not task["end_date"]:
        return state
    return replace(state, seconds=(datetime.fromisoformat(task["end_date"]) - min(began)).total_seconds())


def is_over(states: list[StageState]) -> bool:
    """Whether the pipeline has ended: all stages finished, or one that did not succeed stopped it."""
    return all(state.finished for state in states) or any(
        state.finished and state.state != "success" for state in states
    )


def latest_progress(lines: list[str]) -> str:
    """The last `done/total metrics` in a task's log; empty when there is none yet."""
    for line in reversed(lines):
        match = PROGRESS_LINE.search(line)
        if match:
            return match[0]
    return ""


class Follower:
    """Follows one trigger of the first DAG through the DAGs it sets off."""

    def __init__(self, client: AirflowClient, partition: str, first_run: str, known: Mapping[str, set[str]]) -> None:
        self._client = client
        self._partition = partition
        self._runs = {next(iter(PIPELINE)): first_run}
        self._known = known

    def states(self, deadline_s: float) -> Iterator[list[StageState]]:
        """Yield the stages' states once a second until the pipeline is over.

        Args:
            deadline_s: seconds after which following is given up.

        Raises:
            Unavailable: the deadline passed, or Airflow stayed silent.
        """
        states = start_states()
        end = time.monotonic() + deadline_s
        silent_since: float | None = None
        while True:
            try:
                states = [self._look(state) for state in states]
                silent_since = None
            except Unavailable:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > 60:
                    raise
            yield states
            if is_over(states):
                return
            if time.monotonic() > end:
                raise Unavailable(f"the pipeline did not end within {deadline_s:.0f} s")
            time.sleep(SECONDS_BETWEEN_POLLS)

    def _look(self, state: StageState) -> StageState:
        if state.finished:
            return state
        run = self._find_run(state.dag)
        instances = self._client.instances(state.dag, run) if run else []
        task = next((each for each in instances if each["task_id"] == state.stage), None)
        if run is None or task is None:
            return state
        shards = [each for each in instances if each["task_id"] == f"{state.stage}_shard"]
        if shards and not task["state"]:
            return describe_shards(state, run, shards)
        state = include_shards(describe_task(state, run, task), task, shards)
        if state.state == "running":
            lines = self._client.log(state.dag, run, state.stage, state.attempt)
            return replace(state, detail=latest_progress(lines) or state.detail)
        if state.state == "success":
            return replace(state, reference=self._client.result(state.dag, run, state.stage))
        return state

    def _find_run(self, dag: str) -> str | None:
        """The run of `dag` for the partition that was not there before the trigger."""
        if dag not in self._runs:
            new = [run for run in self._client.runs(dag, self._partition) if run["dag_run_id"] not in self._known[dag]]
            if new:
                self._runs[dag] = str(new[-1]["dag_run_id"])
        return self._runs.get(dag)


def known_runs(client: AirflowClient, partition: str) -> dict[str, set[str]]:
    """The runs of every DAG of the pipeline for a partition, as they are before a trigger."""
    return {dag: {str(run["dag_run_id"]) for run in client.runs(dag, partition)} for dag in PIPELINE}
