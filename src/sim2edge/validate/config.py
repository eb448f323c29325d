"""What a model has to reach."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from sim2edge.config import StageConfig

Share = Annotated[float, Field(ge=0, le=1)]
DEFAULT = "default"
"""The key of a per-name floor that holds for every name without one of its own."""


def per_name(default: float) -> BeforeValidator:
    """Fill in the floor of all names that a mapping does not give."""
    return BeforeValidator(lambda given: {DEFAULT: default, **given} if isinstance(given, dict) else given)


class Floors(StageConfig):
    """The least a model may score on the test split, whatever the champion does."""

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
    """Floors, how much worse than the best model so far a model may be, and how much data a judgement takes."""

    floors: Floors = Field(default=Floors(), description="the least that is accepted")
    tolerance: float = Field(
        default=0.05, ge=0, le=1, description="loss against the best model so far that is accepted: accuracy, mAP, 0..1"
    )
    distance_tolerance_m: float = Field(
        default=0.1, ge=0, le=10, description="rise of the mean distance error that is accepted, metres"
    )
    confidence: float = Field(
        default=0.9, gt=0, lt=1, description="of the two-sided interval of a difference, whose worse end is the rule's"
    )
    resamples: int = Field(default=400, ge=20, le=10_000, description="draws of test episodes that make an interval")
    min_examples: int = Field(
        default=20, ge=1, description="boxes of a class, or frames of a floor, in the test split that it is judged from"
    )
    min_episodes: int = Field(
        default=3, ge=1, description="test episodes that a class or floor is judged from, or an interval made of"
    )
    unjudged: Literal["leave_off", "fail"] = Field(
        default="leave_off",
        description="what too few examples make of a class or floor: left off the release, or a failed rule",
    )
    batch_size: int = Field(default=64, ge=1, le=4096, description="frames at once")
