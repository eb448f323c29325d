"""The config of the validate stage: what a model has to achieve."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from sim2edge.config import StageConfig

Share = Annotated[float, Field(ge=0, le=1)]
DEFAULT = "default"
"""The key of a per-name floor that applies to every name without a floor of its own."""


def per_name(default: float) -> BeforeValidator:
    """Add the default floor to a mapping that lacks one."""
    return BeforeValidator(lambda given: {DEFAULT: default, **given} if isinstance(given, dict) else given)


class Floors(StageConfig):
    """The lowest accepted metrics on the test split, whatever the champion achieves."""

    floor_accuracy: Share = Field(default=0.95, description="share of frames with the right floor")
    map_50: Share = Field(default=0.5, description="COCO mAP at IoU 0.5")
    class_ap_50: Annotated[dict[str, Share], per_name(0.1)] = Field(
        default={},
        description="AP at IoU 0.5 of a class, by name; `default`: of every class without a floor of its own",
    )
    floor_recall: Annotated[dict[str, Share], per_name(0.8)] = Field(
        default={}, description="share of a floor type's frames that are predicted right, by name; `default` as above"
    )


class ValidateConfig(StageConfig):
    """Floors, the accepted loss against the best model so far, and the data needed to judge."""

    floors: Floors = Field(default=Floors(), description="the lowest accepted metrics")
    tolerance: float = Field(
        default=0.05, ge=0, le=1, description="loss against the best model so far that is accepted: accuracy, mAP, 0..1"
    )
    distance_tolerance_m: float = Field(
        default=0.1, ge=0, le=10, description="rise of the mean distance error that is accepted, metres"
    )
    confidence: float = Field(
        default=0.9, gt=0, lt=1, description="of the two-sided interval of a difference, whose worse end is judged"
    )
    resamples: int = Field(default=400, ge=20, le=10_000, description="draws of test episodes for an interval")
    min_examples: int = Field(
        default=20, ge=1, description="boxes of a class, or frames of a floor, needed in the test split to judge it"
    )
    min_episodes: int = Field(
        default=3, ge=1, description="test episodes needed to judge a class or floor, or for an interval"
    )
    unjudged: Literal["leave_off", "fail"] = Field(
        default="leave_off",
        description="effect of too few examples of a class or floor: left off the release, or a failed rule",
    )
    batch_size: int = Field(default=64, ge=1, le=4096, description="frames at once")
