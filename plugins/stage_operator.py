"""The one operator for stages: `StageOperator(stage="clean", outlets=[FRAMES], execution_timeout=...)`.

It computes the reference of the artifact before anything starts, runs the stage where the deployment says
(`runtimes.py`), streams its log, and returns the reference and nothing else. How the stage ends decides how the task
does:

    exit code 0             success; the asset event carries the reference, the preset and the overrides on
    2, bad input            failed, without a retry: it would fail again
    3, refused by a gate    skipped, so nothing downstream runs; the reason is in the log and in XCom `refused`
    anything else           retried; the stage goes on from its checkpoints
"""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.sdk.log import mask_secret
from links import ArtifactLink
from run_settings import RunSettings, read_run_settings
from runtimes import Runtime, StageJob, make_runtime
from stage_inputs import DeclaredInputs, name_inputs
from stage_output import StageOutput

from sim2edge import runner
from sim2edge.bus import Bus
from sim2edge.errors import BadInput

EXIT_BAD_INPUT = 2
EXIT_REFUSED = 3
SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|PASSPHRASE|PRIVATE_KEY")


class StageOperator(BaseOperator):
    """Runs one stage for the batch of its DAG run.

    Args:
        stage: the stage's name; also the task id.
        inputs: role to what the stage reads, see `stage_inputs.py`; roles that are left out take the stage's default.
        overrides: `key=value` words that win over the preset; those of the run win over these.
        execution_timeout: required: every stage has an end.
    """

    template_fields: Sequence[str] = ("inputs", "overrides", "artifact", "outcome")
    overwrite_rtif_after_execution = True  # the task's "rendered" page shows what was really used
    operator_extra_links = (ArtifactLink(),)
    ui_color = "#dff3e4"

    def __init__(
        self,
        *,
        stage: str,
        execution_timeout: timedelta,
        inputs: DeclaredInputs | None = None,
        overrides: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=stage, execution_timeout=execution_timeout, **kwargs)
        self.stage = stage
        self.inputs: dict[str, Any] = dict(inputs or {})
        self.overrides = list(overrides)
        self.artifact: str | None = None
        self.outcome: str | None = None
        self._runtime: Runtime | None = None
        self._run: str | None = None

    def execute(self, context: Context) -> str:
        """Make the artifact, or find it made.

        Returns:
            the artifact's reference.

        Raises:
            AirflowFailException: bad config or bad input.
            AirflowSkipException: a gate refused.
            AirflowException: the stage ended some other way; the task is retried.
        """
        mask_secrets(os.environ)
        try:
            return self._execute(context)
        except BadInput as error:
            self.outcome = "bad input"
            raise AirflowFailException(str(error)) from None

    def on_kill(self) -> None:
        """End the stage when its task is ended; the runtime sees to it that it ends for certain."""
        if self._runtime and self._run:
            self._runtime.cancel(self._run)

    def _execute(self, context: Context) -> str:
        settings = read_run_settings(context)
        bus = Bus.from_environment()
        planned = self._plan(bus, settings)
        if planned.manifest:
            self.log.info("Cache hit: %s saves %.1f s", planned.reference, planned.manifest.cost.wall_s)
        if planned.manifest is None or planned.stage.settle:  # settling takes the stage's own libraries
            self._run_stage(self._job(planned, settings, context), context)
        else:
            runner.point_ref(bus, planned.stage, planned.manifest)
            if planned.manifest.refused:
                self._refuse(planned.manifest.refused, context)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = settings.for_event(planned.reference)
        self.outcome = "cache hit" if planned.manifest else "made"
        return planned.reference

    def _plan(self, bus: Bus, settings: RunSettings) -> runner.Plan:
        self.overrides = [*self.overrides, *settings.for_stage(self.stage)]
        named = name_inputs(bus, self.stage, self.inputs, settings)
        planned = runner.plan(bus, self.stage, settings.partition, settings.preset, self.overrides, named)
        self.inputs = {role: list(references) for role, references in planned.inputs.items()}
        self.artifact = planned.reference
        self.log.info("%s of batch %s, preset %s: %s", self.stage, settings.partition, settings.preset, self.artifact)
        return planned

    def _job(self, planned: runner.Plan, settings: RunSettings, context: Context) -> StageJob:
        instance = context["ti"]
        labels = {
            "dag": instance.dag_id,
            "run": instance.run_id,
            "task": instance.task_id,
            "map_index": str(instance.map_index),
            "try": str(instance.try_number),
            "artifact": planned.reference,
        }
        inputs = [f"--input={role}={reference}" for role, given in planned.inputs.items() for reference in given]
        options = [f"--partition={settings.partition}", f"--preset={settings.preset}", *inputs]
        return StageJob(self.stage, [self.stage, *options, *self.overrides], labels)

    def _run_stage(self, job: StageJob, context: Context) -> None:
        output = StageOutput(self.log)
        self._runtime = runtime = make_runtime(conf.get("sim2edge", "runtime"))
        self._run = run = runtime.reattach(job) or runtime.submit(job)
        try:
            for line in runtime.logs(run):
                output.hear(line)
        finally:
            runtime.clean(run)
        code = runtime.poll(run)
        if code == EXIT_BAD_INPUT:
            raise BadInput(output.complaint)
        if code == EXIT_REFUSED:
            self._refuse(output.complaint, context)
        if code != 0:
            self.outcome = f"exit code {code}"
            raise AirflowException(f"{self.stage} ended with exit code {code}: {output.complaint}")

    def _refuse(self, reason: str, context: Context) -> None:
        self.outcome = f"refused: {reason.removeprefix('refused: ')}"
        context["ti"].xcom_push(key="refused", value={"artifact": self.artifact, "reason": self.outcome})
        self.log.warning("REFUSED %s: %s", self.artifact, self.outcome)
        raise AirflowSkipException(self.outcome)


def mask_secrets(environment: Mapping[str, str]) -> None:
    """Keep the values of secret variables out of the task's log, whoever prints them."""
    for name, value in environment.items():
        if SECRET.search(name) and value:
            mask_secret(value)
