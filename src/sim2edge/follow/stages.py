"""Follow the runs that one trigger causes, DAG after DAG, and yield each stage's state as it changes.

A run is found by the asset event that started it. For `train_model`, it is the event of the training that fulfils the
batch's request; if the batch submits none, because the last training had its frames, `train_model` is triggered by
hand, so that the fleet runs the result of these settings in the end.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sim2edge.errors import Unavailable
from sim2edge.follow.airflow_client import AirflowClient

PIPELINE = {
    "sim_capture": ("capture",),
    "data_cleaning": ("clean",),
    "train_model": ("augment", "train", "validate"),
    "release_model": ("export", "push"),
}
"""The DAGs in the order in which each causes the next, with their stages."""
CAPTURE, CLEAN, TRAIN, _ = PIPELINE
REQUEST = "request_training"
DECIDER, DECIDES = "retrain", "decide"
DECISION = re.compile(r"(?:wait|rest): .*")

FINISHED = {"success", "failed", "skipped", "upstream_failed", "removed"}
PROGRESS_LINE = re.compile(r"\b\d+/\d+\b.*")
SECONDS_BETWEEN_POLLS = 1.0


@dataclass(frozen=True)
class StageState:
    """The state of one stage of the pipeline."""

    dag: str
    stage: str
    state: str = "pending"
    seconds: float | None = None
    reference: str | None = None
    detail: str = ""
    run: str | None = None
    attempt: int = 1
    task: str | None = None
    """The task that explains why the stage will not run, if it is another than its own."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it in this run."""
        return self.state in FINISHED


def start_states() -> list[StageState]:
    """Return every stage, pending."""
    return [StageState(dag, stage) for dag, stages in PIPELINE.items() for stage in stages]


def describe_task(state: StageState, run: str, task: Mapping[str, Any]) -> StageState:
    """Return `state` updated from Airflow's task instance."""
    return replace(
        state,
        run=run,
        state=task["state"] or "pending",
        seconds=task["duration"],
        attempt=max(1, task["try_number"]),
        detail=state.detail if state.run else "",  # a detail from before its run is outdated
    )


def describe_shards(state: StageState, run: str, shards: Sequence[Mapping[str, Any]]) -> StageState:
    """Return `state` of a stage that waits for its shards, with their progress."""
    done = sum(shard["state"] == "success" for shard in shards)
    busy = sum(shard["state"] == "running" for shard in shards)
    began = busy + done > 0
    detail = f"{done}/{len(shards)} shards, {busy} running"
    return replace(state, run=run, state="running" if began else state.state, detail=detail if began else "")


def include_shards(state: StageState, task: Mapping[str, Any], shards: Sequence[Mapping[str, Any]]) -> StageState:
    """Return `state` of a gathered stage, with its seconds counted from the start of its first shard."""
    began = [datetime.fromisoformat(each["start_date"]) for each in shards if each["start_date"]]
    if not began or not task["end_date"]:
        return state
    return replace(state, seconds=(datetime.fromisoformat(task["end_date"]) - min(began)).total_seconds())


def is_over(states: list[StageState]) -> bool:
    """Return whether the pipeline has ended: all stages finished, or one finished without success."""
    return all(state.finished for state in states) or any(
        state.finished and state.state != "success" for state in states
    )


def latest_progress(lines: list[str]) -> str:
    """Return the last `done/total metrics` in a task's log; empty when there is none."""
    for line in reversed(lines):
        match = PROGRESS_LINE.search(line)
        if match:
            return match[0]
    return ""


class Follower:
    """Follows one trigger of the first DAG through the DAGs that it causes.

    Args:
        client: the Airflow.
        partition: the batch.
        first_run: the run of the first DAG.
        conf: the conf of the trigger.
    """

    def __init__(self, client: AirflowClient, partition: str, first_run: str, conf: Mapping[str, Any]) -> None:
        self._client = client
        self._partition = partition
        self._conf = conf
        self._runs = {CAPTURE: first_run}

    def states(self, deadline_s: float) -> Iterator[list[StageState]]:
        """Yield the stages' states once a second until the pipeline is over.

        Args:
            deadline_s: seconds after which to give up.

        Raises:
            Unavailable: the deadline passed, or Airflow did not answer for a minute.
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
        if run is None and state.stage == PIPELINE[TRAIN][0]:
            return self._look_before_training(state)
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
        """Return the run of `dag` caused by the run of the DAG before it; None as long as there is none."""
        if dag not in self._runs:
            before = dict(zip(list(PIPELINE)[1:], PIPELINE, strict=False))[dag]
            found = self._training_run() if dag == TRAIN else self._run_started_by(before, self._runs.get(before), dag)
            if found:
                self._runs[dag] = found
        return self._runs.get(dag)

    def _run_started_by(self, source: str, run: str | None, dag: str) -> str | None:
        events = self._client.events(source, run) if run else []
        return next((started for event in events for started in started_runs(event, dag)), None)

    def _training_run(self) -> str | None:
        """Return the run that learns from the batch: that of its request, or else one triggered by hand."""
        request = self._request()
        if not request or request["state"] != "success":
            return None
        asked = self._client.result(CLEAN, self._runs[CLEAN], REQUEST)
        if asked is None:
            return self._client.trigger(TRAIN, self._partition, self._conf)
        events = self._client.events(DECIDER)
        serving = (event for event in events if asked in (event["extra"] or {}).get("requests", ()))
        return next((started for event in serving for started in started_runs(event, TRAIN)), None)

    def _request(self) -> Mapping[str, Any] | None:
        """Return the task that submits the request for a training."""
        run = self._runs.get(CLEAN)
        return self._client.tasks(CLEAN, run).get(REQUEST) if run else None

    def _look_before_training(self, state: StageState) -> StageState:
        """Return a stage without a run: with the reason it waits, or with the state that ends it."""
        request = self._request()
        if request and request["state"] in FINISHED - {"success", "skipped"}:
            run, attempt = self._runs[CLEAN], max(1, request["try_number"])
            return replace(state, dag=CLEAN, run=run, state=request["state"], attempt=attempt, task=REQUEST)
        if request and request["state"] == "success":
            return replace(state, detail=self._decision() or state.detail)
        return state

    def _decision(self) -> str:
        """Return the last decision about open requests, from the log of its task."""
        runs = self._client.latest_runs(DECIDER)
        task = self._client.tasks(DECIDER, runs[0]["dag_run_id"]).get(DECIDES) if runs else None
        if not task or not task["try_number"]:
            return ""
        lines = self._client.log(DECIDER, runs[0]["dag_run_id"], DECIDES, task["try_number"])
        return next((found[0] for line in reversed(lines) if (found := DECISION.search(line))), "")


def started_runs(event: Mapping[str, Any], dag: str) -> list[str]:
    """Return the runs of a DAG that an asset event started."""
    return [str(run["run_id"]) for run in event["created_dagruns"] if run["dag_id"] == dag]
