"""Build the job of a stage: arguments, labels, plain settings, and the stage's own credentials.

Credentials come from `$SIM2EDGE_CREDENTIALS/<stage>.env`, with the least privileges the stage needs. Without such a
file it gets the worker's own. Plain settings are not secret; credentials and keys are passed separately, and no runtime
shows them.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from sim2edge.errors import BadInput
from sim2edge.expectation import Expectation
from sim2edge.plan import Plan
from sim2edge.secrets_file import read_role
from sim2edge.stage import Stage
from sim2edge_airflow.connections import CREDENTIALS_VARIABLE
from sim2edge_airflow.run_settings import RunSettings
from sim2edge_airflow.runtimes.runtime import StageJob
from sim2edge_airflow.runtimes.stage_settings import StageSettings

PLAIN_VARIABLES = (
    "SIM2EDGE_BUCKET",
    "SIM2EDGE_PRESET",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
)
"""The worker's variables that are passed to a stage in a container or pod, too."""
SECRET_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
LOG = logging.getLogger(__name__)
KEYS_VARIABLE = "SIM2EDGE_KEYS"
DEADLINE_MARGIN_S = 60
"""Seconds that a run may exceed its task's timeout: by then the task has ended it, unless the task was killed."""
MAX_KEY = 64 * 1024


def make_job(
    planned: Plan,
    run: RunSettings,
    overrides: Sequence[str],
    owner: Mapping[str, str],
    timeout: timedelta,
    settings: StageSettings,
    environment: Mapping[str, str],
) -> StageJob:
    """Return the job that makes the planned artifact, for the task instance `owner` in its worker's `environment`.

    The arguments carry the whole plan: every role of the inputs, resolved config values, and the expected result.

    Raises:
        BadInput: the stage's credentials or keys cannot be read.
    """
    stage = planned.stage.name
    inputs = [f"--input={role}={reference}" for role, given in planned.inputs.items() for reference in given]
    inputs += [f"--no-input={role}" for role, given in planned.inputs.items() if not given]
    expect = f"--expect={Expectation.of(planned).to_word()}"
    cut = [f"--shard={planned.shard}"] if planned.shard else [f"--gather={len(planned.parts)}"] if planned.parts else []
    options = [f"--partition={run.partition}", f"--preset={run.preset_of(planned.stage.name)}", *cut, *inputs, expect]
    options += ["--replace"] if planned.replace else []
    arguments = [stage, *options, *overrides, *planned.pinned]
    labels = {**owner, "artifact": planned.reference}
    return job_with_rights_of(planned.stage, arguments, labels, timeout, settings, environment)


def job_with_rights_of(
    stage: Stage,
    arguments: Sequence[str],
    labels: Mapping[str, str],
    timeout: timedelta,
    settings: StageSettings,
    environment: Mapping[str, str],
) -> StageJob:
    """Return the job that runs `sim2edge` with these arguments and the image, credentials and keys of a stage.

    Raises:
        BadInput: the stage's credentials or keys cannot be read.
    """
    return StageJob(
        stage=stage.name,
        arguments=arguments,
        labels={**labels, "stage": stage.name},
        deadline_s=int(timeout.total_seconds()) + DEADLINE_MARGIN_S,
        settings=settings,
        environment={name: environment[name] for name in PLAIN_VARIABLES if environment.get(name)},
        secrets=stage_secrets(stage, environment),
        signs=stage.signs,
        keys=signing_keys(environment.get(KEYS_VARIABLE)) if stage.signs else {},
    )


def stage_secrets(stage: Stage, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the stage's own credentials, or else those of the stage that it replaces, or the worker's.

    The second is for deployments whose credentials were created before the stage had a role of its own.

    Raises:
        BadInput: the stage's credentials file is invalid.
    """
    folder = environment.get(CREDENTIALS_VARIABLE)
    own = read_role(Path(folder), stage.name) if folder else {}
    if folder and not own and stage.instead_of and (own := read_role(Path(folder), stage.instead_of)):
        LOG.warning(
            "%s/%s.env does not exist: %s runs with the credentials of %s; `sim2edge access init` creates its own",
            *(folder, stage.name, stage.name, stage.instead_of),
        )
    return own or {name: environment[name] for name in SECRET_VARIABLES if environment.get(name)}


def signing_keys(folder: str | None) -> dict[str, bytes]:
    """Return the online keys and the root of a key folder, without the offline keys below it.

    Empty without a folder: the stage reports the missing key itself.

    Raises:
        BadInput: a file cannot be read.
    """
    if not folder or not Path(folder).exists():
        return {}
    try:
        files = [path for path in sorted(Path(folder).iterdir()) if path.suffix in (".pem", ".json") and path.is_file()]
        return {path.name: path.read_bytes() for path in files if path.stat().st_size <= MAX_KEY}
    except OSError as error:
        raise BadInput(f"{KEYS_VARIABLE} '{folder}': {error.strerror}") from error
