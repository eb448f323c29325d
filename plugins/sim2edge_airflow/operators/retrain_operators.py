"""Request, decide on and start trainings: the tasks `request_training`, `decide` and `start`.

Requests are stored on the bus (`sim2edge/retrain.py`), and a pure function decides when they start a training
(`sim2edge/retrain_decision.py`). This module connects them to Airflow: which runs are active, when to check again, and
the asset event that starts `train_model`.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, BaseSensorOperator, Context, Param
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from sim2edge import retrain
from sim2edge.alternates import is_alternate
from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.failed_trainings import give_back
from sim2edge.manifest import latest_partition
from sim2edge.retrain import Request, Training
from sim2edge.retrain_decision import Decision, Policy, Situation, decide, is_backfill, is_urgent
from sim2edge_airflow.connections import connect_bus
from sim2edge_airflow.deployment_settings import read_default_preset
from sim2edge_airflow.operators.failures import plainly
from sim2edge_airflow.operators.stage_inputs import check_left
from sim2edge_airflow.run_settings import check_names, read_run_settings, run_params
from sim2edge_airflow.scheduling.pipeline_file import read_pipeline

DATA_DAGS = ("sim_capture", "ingest_batch", "annotate_batch", "data_cleaning")
"""The DAGs whose runs produce training data."""
TRAINING_DAG = "train_model"
GOING_ON = ("queued", "running")
CERTAIN_S, CERTAIN_STEP_S = 8.0, 1.0
"""Seconds without a run that produces data after which a backfill counts as finished: between the end of one run and
the start of the next, the scheduler may take some seconds."""

IN_PLACE_S = 8.0
"""Seconds a task waits in its process before it is rescheduled."""
MIN_BREAK_S = 10.0
"""Minimum of a reschedule, seconds: a task that resumes before the scheduler has seen it leave is treated as lost."""
PARAMS = {
    "reason": Param(
        "",
        type=["null", "string"],
        maxLength=300,
        title="Reason",
        description_md="Requests a training by hand, in one sentence of at most 300 characters. Default, empty: only "
        "the open requests are decided on. Example: **new floor in hall 3**.",
    ),
    "kind": Param(
        "manual",
        enum=["manual", "drift", "degradation"],
        title="Kind of reason",
        description_md="**manual**: a person's wish; **drift**: the data have changed; **degradation**: the model has "
        "become worse on devices. Default: manual. Only with a reason.",
    ),
    "now": Param(
        False,
        type=["null", "boolean"],
        title="Now",
        description_md="Skip the cool-down after the last training; of kind manual only. Default: off.",
    ),
    **run_params("retrain"),
}


class RequestTraining(BaseOperator):
    """Requests a training if the last one did not learn from a batch's frames; returns the request's id, or None.

    Args:
        frames: the reference of the frames.
        pipeline: the file with the deployment's overrides; read by the task, so that a mistake in it stops no cleaning.
    """

    template_fields: Sequence[str] = ("frames", "request")
    overwrite_rtif_after_execution = True
    ui_color = "#fdf1d3"

    def __init__(self, *, frames: Any, pipeline: Path | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frames = frames
        self.pipeline = str(pipeline) if pipeline else None
        self.request: str | None = None

    def execute(self, context: Context) -> str | None:
        """Submit a request, unless the last training learned from these frames with the same settings.

        Raises:
            AirflowFailException: an override, the preset or the pipeline file is invalid.
            AirflowException: S3 cannot be reached; the task is retried.
        """
        return plainly(lambda: self._submit(context))

    def _submit(self, context: Context) -> str | None:
        check_left(self.frames, "frames")
        run, bus = read_run_settings(context), connect_bus()
        if is_alternate(bus, self.frames):
            self.log.info("No request: %s is kept beside the frames of its batch, which trainings read", self.frames)
            return None
        overrides = retrain.tunable(run.overrides)
        defaults = read_pipeline(Path(self.pipeline)).overrides if self.pipeline else ()
        settings = retrain.fingerprint(run.preset, overrides, defaults, run.default_preset)
        learned, last = retrain.is_learned(bus, self.frames, settings)
        if learned:
            self.log.info("No request: training %s learned from %s with the same settings", last, self.frames)
            return None
        count = int(bus.open(self.frames).summary.get("frames") or 0)
        request = retrain.make_request(
            "data",
            f"batch {run.partition}: {count} frames",
            {"frames": self.frames, "settings": settings, "after": last},
            by=self.dag_id,
            preset=run.preset,
            overrides=overrides,
            batch=run.partition,
            frames=count,
            backfill=run.backfill,
        )
        fulfilled = retrain.submit(bus, request)
        self.log.info(
            "Request %s: %s", request.id, f"was fulfilled by training {fulfilled}" if fulfilled else request.reason
        )
        self.request = request.id
        return request.id


class Decide(BaseSensorOperator):
    """Waits until the open requests may start a training; skipped when there is nothing to do.

    Args:
        policy: when they may.
        defaults: the overrides of the deployment, as `stage.key=value` words.
    """

    ui_color = "#fdf1d3"

    def __init__(self, *, policy: Policy, defaults: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(mode="reschedule", **kwargs)
        self.policy = policy
        self.defaults = list(defaults)
        self._look_again_s = 0.0

    def poke(self, context: Context) -> bool:
        """Decide, and decide again soon if the wait is short; log each decision with its reason.

        The DAG has one active run at a time, so a run with a long wait ends when another is queued.

        Raises:
            AirflowSkipException: there is nothing to do until the next request, or a queued run takes over.
            AirflowFailException: the request in the run's conf is invalid.
            AirflowException: S3 cannot be reached; the task is retried.
        """
        decision = self._look(context)
        end = time.monotonic() + IN_PLACE_S
        while decision.action == "wait" and time.monotonic() + decision.look_again_s < end:
            time.sleep(decision.look_again_s)
            decision = self._look(context)
        if decision.action == "wait" and count_runs(context, self.dag_id, ["queued"]):
            raise AirflowSkipException(f"the next run takes over: {decision.why}")  # it may carry a manual request
        self._look_again_s = max(decision.look_again_s, MIN_BREAK_S)
        return decision.action == "train"

    def _look(self, context: Context) -> Decision:
        decision = plainly(lambda: self._decide(context))
        self.log.info("%s: %s", decision.action, decision.why)
        if decision.action == "rest":
            raise AirflowSkipException(decision.why)
        return decision

    def _get_next_poke_interval(self, *_: Any, **__: Any) -> float:
        return self._look_again_s

    def _decide(self, context: Context) -> Decision:
        bus = connect_bus()
        if request := request_by_hand(context, self.defaults):
            retrain.submit(bus, request)
        requests, situation = read_open(bus, self.defaults, self.log), self._look_around(bus, context)
        decision = decide(requests, situation, self.policy, datetime.now(UTC))
        if decision.action == "train" and is_backfill(requests) and not is_urgent(requests):
            return self._make_certain(requests, situation, decision, context)
        return decision

    def _look_around(self, bus: Bus, context: Context) -> Situation:
        last = retrain.last_training(bus)
        return Situation(
            trainings=count_runs(context, TRAINING_DAG),
            data_runs=sum(count_runs(context, dag) for dag in DATA_DAGS),
            last_training=last.started if last else None,
            batch=retrain.newest_batch(bus),
            paused=is_paused(context),
        )

    def _make_certain(
        self, requests: Sequence[Request], situation: Situation, decision: Decision, context: Context
    ) -> Decision:
        """Return the decision again after waiting for further runs of a backfill."""
        end = time.monotonic() + CERTAIN_S
        while decision.action == "train" and not situation.data_runs and time.monotonic() < end:
            time.sleep(CERTAIN_STEP_S)
            situation = replace(situation, data_runs=sum(count_runs(context, dag) for dag in DATA_DAGS))
            decision = decide(requests, situation, self.policy, datetime.now(UTC))
        return decision


class StartTraining(BaseOperator):
    """Joins the open requests in one training and starts it; every try starts the same training.

    Args:
        defaults: the overrides of the deployment, as `stage.key=value` words.
    """

    ui_color = "#fdf1d3"

    def __init__(self, *, defaults: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.defaults = list(defaults)

    def execute(self, context: Context) -> str:
        """Record the training, mark its requests as fulfilled, and emit its event; returns its id.

        Raises:
            AirflowSkipException: other trainings have fulfilled all requests.
            AirflowFailException: a request's settings are invalid.
            AirflowException: the DAG that trains is paused, so Airflow would drop the event; or S3 cannot be reached.
        """
        if is_paused(context):
            raise AirflowException(f"{TRAINING_DAG} is paused: unpause it, then clear this task")
        training = plainly(lambda: self._fulfil(context))
        if training is None:
            raise AirflowSkipException("other trainings have fulfilled every request")
        for reason in training.reasons:
            self.log.info(reason)
        self.log.info("preset %s, overrides %s", training.preset or "of the deployment", list(training.overrides))
        (asset,) = self.outlets
        event = context["outlet_events"][asset]
        event.add_partitions(training.batch)
        event.extra = {
            "training": training.id,
            "preset": training.preset,
            "overrides": list(training.overrides),
            "requests": [request.id for request in training.requests],
            "reasons": training.reasons,
        }
        return training.id

    def _fulfil(self, context: Context) -> Training | None:
        bus, run = connect_bus(), context["dag_run"]
        identity = retrain.training_id(run.run_id, run.run_after)
        training = retrain.find_training(bus, identity) or self._join(bus, identity)
        return retrain.fulfil(bus, training) if training else None

    def _join(self, bus: Bus, identity: str) -> Training | None:
        requests = read_open(bus, self.defaults, self.log)
        frames = retrain.current_frames(bus)
        if not requests or not frames:
            return None
        preset, overrides = retrain.merge_settings(requests)
        for request in requests:
            chosen = request.preset, retrain.tunable(request.overrides)
            if chosen != (None, ()) and chosen != (preset, overrides):
                self.log.warning("Request %s is fulfilled with the settings of a newer one", request.id)
        return Training(
            id=identity,
            started=datetime.now(UTC),
            batch=latest_partition(frames),
            preset=preset,
            overrides=overrides,
            settings=retrain.fingerprint(preset, overrides, self.defaults, read_default_preset()),
            frames=tuple(frames),
            requests=tuple(requests),
        )


class GiveBack(BaseOperator):
    """Opens the requests of a training again if its run has a failed task; else skipped. A teardown: it always runs."""

    ui_color = "#fdf1d3"

    def execute(self, context: Context) -> Sequence[str]:
        """Give the requests back and return their new ids.

        Raises:
            AirflowSkipException: no task has failed, or the run is of no recorded training.
            AirflowException: S3 cannot be reached; the task is retried.
        """
        run, events = context["dag_run"], context["triggering_asset_events"]
        states = context["ti"].get_task_states(dag_id=run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
        failed = sorted(task for task, state in states.items() if state == "failed")
        training = next(
            (each.extra["training"] for of in events.values() for each in of if "training" in each.extra), ""
        )
        if not failed or not training:
            raise AirflowSkipException("no task has failed" if not failed else "the run has no requests to give back")
        again = plainly(lambda: give_back(connect_bus(), training))
        for request in again:
            self.log.warning("%s failed: request %s is open again: %s", ", ".join(failed), request.id, request.reason)
        return [request.id for request in again]


def read_open(bus: Bus, defaults: Sequence[str], log: Any) -> Sequence[Request]:
    """Return the valid open requests; delete fulfilled ones, drop those of withdrawn batches, log invalid ones."""
    found = retrain.open_requests(bus, datetime.now(UTC))
    for line in found.dropped.values():
        log.warning("Dropped: %s", line)
    retrain.clear_leftovers(bus, found)
    requests, problems = retrain.check_requests(found.requests, read_default_preset(), defaults)
    for problem in (*found.bad, *problems):
        log.warning("Ignored: %s", problem)
    return requests


def request_by_hand(context: Context, defaults: Sequence[str]) -> Request | None:
    """Return the request in the params of a run triggered by hand; None if they have no reason.

    Raises:
        BadInput: a param is invalid, unknown to the DAG, or given without a reason.
    """
    run, params = context["dag_run"], context["params"]
    check_names(params, PARAMS)
    if not params.get("reason"):
        if given := [name for name, param in PARAMS.items() if params.get(name) not in (None, "", param.value)]:
            raise BadInput(f"conf '{given[0]}' without a reason: a request needs one")
        return None
    request = retrain.make_request(
        params["kind"],
        params["reason"],
        {"run": run.run_id},
        by=run.triggering_user_name or "Airflow",
        preset=params.get("preset") or None,
        overrides=params.get("overrides") or (),
        submitted=run.run_after.astimezone(UTC),
        now=params.get("now") is True,
    )
    retrain.check_tunable(request.overrides)
    retrain.fingerprint(request.preset, request.overrides, defaults, read_default_preset())
    return request


def is_paused(context: Context) -> bool:
    """Return whether the DAG that trains is paused: Airflow drops the events of a paused DAG."""
    return bool(context["ti"].get_dag(TRAINING_DAG).is_paused)


def count_runs(context: Context, dag: str, states: Sequence[str] = GOING_ON) -> int:
    """Return the number of runs of a DAG in the given states; by default, queued or running."""
    return int(context["ti"].get_dr_count(dag_id=dag, states=list(states)))
