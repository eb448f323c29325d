"""Read a pipeline file such as `dags/train_model.yml`, which sets how the stages of a DAG run without editing it."""

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError, field_validator

from sim2edge.config import NumbersAreNumbers, parse_overrides, read_yaml
from sim2edge.errors import BadInput
from sim2edge.retrain_decision import Policy


class PipelineStage(NumbersAreNumbers):
    """How one stage of a pipeline runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_minutes: float = Field(
        gt=0, le=60 * 24 * 365, description="minutes after which the stage is ended and retried"
    )
    retries: int = Field(default=2, ge=1, le=1000, description="retries; each resumes from the last checkpoint")
    slots: int = Field(default=1, ge=1, le=1000, description="pool slots it takes")
    pool: str = Field(default="default_pool", description="the pool that limits how many run at once")
    overrides: tuple[str, ...] = Field(default=(), description="key=value words that win over the preset")

    @field_validator("overrides")
    @classmethod
    def _check_overrides(cls, overrides: tuple[str, ...]) -> tuple[str, ...]:
        try:
            parse_overrides(overrides)
        except BadInput as error:
            raise ValueError(str(error)) from error
        return overrides

    def task_arguments(self) -> dict[str, Any]:
        """Return the arguments of `StageOperator` that the file sets, but for the overrides (`PipelineSettings`)."""
        return {
            "execution_timeout": timedelta(minutes=self.timeout_minutes),
            "retries": self.retries,
            "pool": self.pool,
            "pool_slots": self.slots,
        }


class Pipeline(NumbersAreNumbers):
    """A pipeline: when it is started, how many of its runs are active at once, and how each stage runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_active_runs: int = Field(default=1, ge=1, le=1000, description="active runs of the DAG; others stay queued")
    retrain: Policy = Field(default=Policy(), description="when requests start a training")
    stages: dict[str, PipelineStage]

    @property
    def overrides(self) -> list[str]:
        """The overrides of all stages, as `stage.key=value` words."""
        return [f"{name}.{word}" for name, stage in self.stages.items() for word in stage.overrides]


def read_pipeline(path: Path, stages: Collection[str] = ()) -> Pipeline:
    """Read a pipeline file.

    Args:
        path: of the file.
        stages: the stages that it has to name, and no other; empty: not checked.

    Raises:
        BadInput: it is not YAML, or a field is invalid; names file and field.
    """
    try:
        pipeline = Pipeline.model_validate(read_yaml(path))
    except ValidationError as error:  # without its text, which an import error in the UI would show first
        first = error.errors()[0]
        raise BadInput(f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    for name in pipeline.stages if stages else ():
        if name not in stages:
            raise BadInput(f"{path.name}: stages.{name}: is not one of: {', '.join(stages)}")
    for name in stages:
        if name not in pipeline.stages:
            raise BadInput(f"{path.name}: stages.{name}: Field required")
    return pipeline
