"""Run a stage as an Airflow task: `StageOperator(stage="clean", outlets=[FRAMES], execution_timeout=...)`.

The operator plans the artifact first, runs the stage in the deployment's runtime (`runtime.py`), streams its log, and
returns only the artifact's reference. The stage receives the whole plan and refuses to make any other artifact, as an
image of another version would (`sim2edge/expectation.py`). The exit code of the stage decides the task's state:

    0                       success, once the planned artifact is committed; the asset event passes on the reference,
                            the preset and the overrides
    2, bad input            failed, without a retry: it would fail again
    3, refused by a gate    skipped, so nothing downstream runs; the reason is in the log and in XCom `refused`
    any other               retried, such as 75, S3 cannot be reached; the stage resumes from its checkpoints

A container or a pod outlives a worker that is killed: the next try finds it, by the run id that Airflow stores for the
task (`ResumableJobMixin`, https://github.com/apache/airflow/pull/67118) or by its labels, and resumes it and its log.

The result of a task is in its field `outcome`, for people, and in the XCom `outcome`, for the pages: whether the
artifact was cached, and what that saved (`Saving`). The line with which a try failed is in the XCom `failed`.
"""

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from airflow.sdk import BaseOperator, Context, ResumableJobMixin, XComArg
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.sdk.log import mask_secret

from sim2edge import plan, runner
from sim2edge.alternates import is_alternate
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Unavailable
from sim2edge.manifest import Manifest
from sim2edge.progress import make_progress
from sim2edge_airflow.connections import connect_bus, worker_environment
from sim2edge_airflow.deployment_settings import read_deployment, read_runtime, read_stage
from sim2edge_airflow.operators.failures import recorded
from sim2edge_airflow.operators.links import LINKS, StageLineage
from sim2edge_airflow.operators.stage_inputs import DeclaredInputs, name_inputs
from sim2edge_airflow.operators.stage_output import StageOutput
from sim2edge_airflow.run_settings import RunSettings, read_run_settings
from sim2edge_airflow.runtimes.choose_runtime import make_runtime
from sim2edge_airflow.runtimes.runtime import (
    EXIT_BAD_INPUT,
    EXIT_REFUSED,
    VERDICTS,
    Orphaned,
    RunStatus,
    Runtime,
    StageJob,
)
from sim2edge_airflow.runtimes.stage_job import make_job

RUNNING, ENDED, LOST = "running", "ended", "lost"
SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|PASSPHRASE|PRIVATE_KEY")


@dataclass(frozen=True)
class Saving:
    """Whether a task's artifact was cached, and what that saved: the XCom `outcome`."""

    cached: bool
    saved_s: float
    saved_bytes: int
    reference: str

    @classmethod
    def of(cls, planned: plan.Plan) -> "Saving":
        """Return what a plan saves: if the whole batch is cached, each shard saves its share."""
        found = planned.manifest
        if found is None:
            return cls(False, 0.0, 0, planned.reference)
        of = planned.shard.of if planned.shard and not found.shard else 1
        return cls(True, round(found.cost.wall_s / of, 3), found.size // of, found.reference)

    def __str__(self) -> str:
        return f"saved {self.saved_s:.1f} s, {self.saved_bytes / 1e6:.1f} MB"


class StageOperator(StageLineage, ResumableJobMixin, BaseOperator):
    """Runs one stage for the batch of its DAG run.

    Args:
        stage: the stage's name; also the task id, unless another is given.
        inputs: role to the stage's inputs, see `stage_inputs.py`; omitted roles take the stage's default.
        overrides: `key=value` words that win over the preset, or the output of a task that returns some; those of the
            run win over these.
        execution_timeout: required: the runtime derives the stage's deadline from it.
        shard: do only this share of the work, `3/8`; see `stage_in_shards.py`.
        gather: make the artifact out of this many shards.
    """

    template_fields: Sequence[str] = ("inputs", "overrides", "shard", "artifact", "outcome")
    overwrite_rtif_after_execution = True  # the task's "rendered" page shows the resolved values
    operator_extra_links = LINKS
    external_id_key = "stage_run"
    ui_color = "#dff3e4"

    def __init__(
        self,
        *,
        stage: str,
        execution_timeout: timedelta,
        inputs: DeclaredInputs | None = None,
        overrides: Sequence[str] | XComArg = (),
        task_id: str | None = None,
        shard: str | None = None,
        gather: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id or stage, execution_timeout=execution_timeout, **kwargs)
        self.stage = stage
        self.shard = shard
        self.gather = gather
        self.inputs: dict[str, Any] = dict(inputs or {})
        self.overrides: Any = overrides if isinstance(overrides, XComArg) else list(overrides)
        self.artifact: str | None = None
        self.outcome: str | None = None
        self._output = StageOutput(self.log)
        self._job: StageJob | None = None
        self._runtime: Runtime | None = None
        self._run: str | None = None
        self._killed = False

    def execute(self, context: Context) -> str:
        """Make the artifact unless it is cached, and return its reference.

        Raises:
            AirflowFailException: bad config or bad input, or the stage succeeded without the planned artifact.
            AirflowSkipException: a gate refused.
            AirflowException: the stage ended in any other way; the task is retried.
        """
        mask_secrets(os.environ)
        with recorded(context):
            try:
                return self._execute(context)
            except BadInput as error:
                self.outcome = "bad input"
                raise AirflowFailException(str(error)) from None
            except Unavailable as error:
                raise AirflowException(str(error)) from None

    def on_kill(self) -> None:
        """End the stage when its task is killed; the runtime forces it if needed."""
        self._killed = True
        if self._runtime and self._run:
            self._runtime.cancel(self._run)

    def _execute(self, context: Context) -> str:
        settings = read_run_settings(context)
        bus = connect_bus()
        planned = self._plan(bus, settings)
        self._prepare(planned, settings, context)
        saved = Saving.of(planned)
        if saved.cached:
            self.log.info("Cached: %s %s", planned.reference, saved)
            context["ti"].xcom_push(key="outcome", value=asdict(saved))
        if self._left_behind(context) or not runner.finalize_cached(bus, planned, make_progress(self.stage)):
            self.execute_resumable(context)
        manifest = self._find_made(bus, planned)
        if manifest.refused:
            self._refuse(manifest.refused, context)
        self._check_batch(bus, planned, manifest)
        self.artifact = manifest.reference
        for asset in self.outlets:
            context["outlet_events"][asset].extra = settings.for_event(manifest.reference)
        self.outcome = f"cached: {saved}" if saved.cached else "made"
        if not saved.cached:
            context["ti"].xcom_push(key="outcome", value=asdict(saved))
        return manifest.reference

    def _check_batch(self, bus: Bus, planned: plan.Plan, manifest: Manifest) -> None:
        """Fail if another run, with other settings, has begun the batch while this one did: nothing follows from it."""
        if any(planned.inputs.values()) or planned.shard or not is_alternate(bus, manifest.reference):
            return
        raise BadInput(
            f"batch '{manifest.partition}' was begun with other settings meanwhile, and {manifest.reference} is kept "
            "beside: trigger another batch, or with `replace`"
        )

    def _find_made(self, bus: Bus, planned: plan.Plan) -> Manifest:
        """Return the planned artifact; fail if a stage that exited with 0 committed another one, or none."""
        made = plan.find_made(bus, planned)
        if made is None:
            self.outcome = "not committed"
            raise AirflowFailException(
                f"{self.stage} ended with exit code 0, but {planned.reference} is not on the bus: "
                f"it reports that it committed {self._output.committed or 'nothing'}"
            )
        return made

    def _plan(self, bus: Bus, settings: RunSettings) -> plan.Plan:
        self.overrides = [*self.overrides, *settings.for_stage(self.stage)]
        named = name_inputs(bus, self.stage, self.inputs, settings)
        cut = {"shard": self.shard, "gather": self.gather, "replace": settings.replace}
        preset = settings.preset_of(self.stage)
        planned = plan.plan(bus, self.stage, settings.partition, preset, self.overrides, named, **cut)
        self.inputs = {role: list(references) for role, references in planned.inputs.items()}
        self.artifact = planned.reference
        self.log.info("%s of batch %s, preset %s: %s", self.stage, settings.partition, preset, self.artifact)
        return planned

    def _prepare(self, planned: plan.Plan, settings: RunSettings, context: Context) -> None:
        owner = owner_of(context["ti"])
        limits = read_stage(self.stage, os.environ.get("SIM2EDGE_TAG") or version("sim2edge"))
        assert self.execution_timeout  # noqa: S101
        timeout = self.execution_timeout
        self._job = make_job(planned, settings, self.overrides, owner, timeout, limits, worker_environment(os.environ))
        mask_secrets(self._job.secrets)
        if "AWS_SESSION_TOKEN" in self._job.secrets:
            self.log.info("%s has an S3 session that is not renewed while it runs: docs/connections.md", self.stage)
        self._runtime = make_runtime(limits.runtime or read_runtime())
        self.durable = self._runtime.resumable

    def _left_behind(self, context: Context) -> bool:
        """Return whether a killed try left a run: it is followed and removed, even if its artifact exists."""
        return bool(context["ti"].try_number > 1 and self.runtime.find(self.job))

    @property
    def job(self) -> StageJob:
        """The job; set once the task is prepared."""
        assert self._job  # noqa: S101
        return self._job

    @property
    def runtime(self) -> Runtime:
        """The runtime; set once the task is prepared."""
        assert self._runtime  # noqa: S101
        return self._runtime

    def submit_job(self, context: Context) -> dict[str, str]:  # noqa: ARG002
        """See `ResumableJobMixin`. A run that a killed try did not report to Airflow is found by its labels."""
        run = self.runtime.find(self.job)
        if run is None:
            self._run = run = self.runtime.submit(self.job)
        return {"runtime": self.runtime.name, "run": run, "artifact": self.job.labels["artifact"]}

    def get_job_status(self, external_id: Any, context: Context) -> str:  # noqa: ARG002
        """See `ResumableJobMixin`. A run for another artifact, or of another runtime, counts as lost."""
        if external_id["runtime"] != self.runtime.name or external_id["artifact"] != self.job.labels["artifact"]:
            return LOST
        status = self.runtime.status(external_id["run"])
        if status is None:
            return LOST
        if status.exit_code is None:
            return RUNNING
        return ENDED if status.exit_code in VERDICTS else LOST

    def is_job_active(self, status: str) -> bool:
        """See `ResumableJobMixin`. A run that has ended counts as active: its log and exit code are still unread."""
        return status in (RUNNING, ENDED)

    def is_job_succeeded(self, status: str) -> bool:  # noqa: ARG002
        """See `ResumableJobMixin`."""
        return False

    def poll_until_complete(self, external_id: Any, context: Context) -> None:
        """See `ResumableJobMixin`: follow the run's log to its end, remove the run, and evaluate its exit code."""
        run = str(external_id["run"])
        if run != self._run:
            self.log.info("Resuming %s, which an earlier try started; its log from the beginning:", run)
        self._run = run
        if self._killed:  # `on_kill` was called before the run had a name
            self.runtime.clean(run)
            raise AirflowException(f"{self.stage} was ended while it was being started")
        try:
            for line in self.runtime.logs(run):
                self._output.hear(line)
        except (Orphaned, Unavailable):
            if not self.runtime.resumable:
                self.runtime.clean(run)
            raise
        except BaseException:  # the task is being killed: end its stage, too
            with contextlib.suppress(Unavailable):
                self.runtime.clean(run)
            raise
        self._judge(self.runtime.clean(run), context)

    def get_job_result(self, external_id: Any, context: Context) -> None:
        """See `ResumableJobMixin`: the result is on the bus."""

    def _judge(self, status: RunStatus | None, context: Context) -> None:
        if self._killed:
            self.outcome = "ended with its task"
            raise AirflowException(f"{self.stage} was ended with its task")
        if status is None:
            self.outcome = "removed"
            raise AirflowException(f"{self.stage} was removed while it ran, but not by its task")
        if status.exit_code == EXIT_BAD_INPUT:
            raise BadInput(self._output.error)
        if status.exit_code == EXIT_REFUSED:
            self._refuse(self._output.error, context)
        if status.exit_code != 0:
            self.outcome = status.explanation or f"exit code {status.exit_code}"
            why = status.explanation or self._output.error
            raise AirflowException(f"{self.stage} ended with exit code {status.exit_code}: {why}")

    def _refuse(self, reason: str, context: Context) -> None:
        self.outcome = f"refused: {reason.removeprefix('refused: ')}"
        context["ti"].xcom_push(key="refused", value={"artifact": self.artifact, "reason": self.outcome})
        self.log.warning("REFUSED %s: %s", self.artifact, self.outcome)
        raise AirflowSkipException(self.outcome)


def owner_of(instance: Any) -> dict[str, str]:
    """Return the labels of a task instance, by which the runs of its tries are found."""
    return {
        "deployment": read_deployment(),
        "dag": instance.dag_id,
        "run": instance.run_id,
        "task": instance.task_id,
        "map_index": str(instance.map_index),
        "try": str(instance.try_number),
    }


def mask_secrets(environment: Mapping[str, str]) -> None:
    """Mask the values of secret variables in the task's log."""
    for name, value in environment.items():
        if SECRET.search(name) and value:
            mask_secret(value)
