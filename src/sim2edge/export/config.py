"""The config of the export stage."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from sim2edge.config import StageConfig
from sim2edge.export.device_profile import DeviceProfile

NOT_IN_CACHE_KEY: JsonDict = {"affects_cache_key": False}
"""For settings of measurements, which are stored beside the payload and affect no choice."""


class Limits(StageConfig):
    """The loss allowed to a variant against the trained network, on the same held-out frames."""

    min_floor_accuracy: float = Field(
        default=0.9, ge=0, le=1, description="floor accuracy below which no variant is released"
    )
    max_floor_accuracy_drop: float = Field(default=0.02, ge=0, le=1, description="floor accuracy lost, absolute")
    max_map50_drop: float = Field(default=0.03, ge=0, le=1, description="mAP@50 lost, absolute")
    min_agreement: float = Field(
        default=0.85, ge=0, le=1, description="F1 of a variant's detections against those of the trained network"
    )
    min_classes: int = Field(default=1, ge=0, description="classes judged by the verdict, which devices may report")
    min_floors: int = Field(default=1, ge=0, description="floor types judged by the verdict, which devices may report")
    max_difference: float = Field(
        default=1e-3,
        gt=0,
        description="largest difference of a raw output for float32 variants, in units of the output",
    )
    max_difference_float16: float = Field(
        default=0.1,
        gt=0,
        description="largest difference of a raw output for the float16 variant, in units of the output",
    )


class ExportConfig(StageConfig):
    """How variants are built, compared and chosen."""

    calibration_frames: int = Field(
        default=256, ge=1, description="validation frames that set the ranges of int8, frames"
    )
    parity_frames: int = Field(default=400, ge=1, description="test frames every variant is compared on, frames")
    threads: int = Field(default=1, ge=1, le=16, description="threads of torch and of the device's runtimes, threads")
    device_class: str = Field(
        default="raspberry-pi-4",
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="class of device that the release is for: its profile is `conf/profiles/<class>.yaml`",
    )
    profile: DeviceProfile | None = Field(
        default=None, description="latencies measured on that class; default: those of `conf/profiles/` when planned"
    )
    latency_budget_ms: float | None = Field(
        default=None, gt=0, description="highest latency by the profile of a released variant, ms; none: no limit"
    )
    unmeasured: Literal["refuse", "allow"] = Field(
        default="refuse", description="effect of a latency budget on a variant missing in the profile"
    )
    tie: float = Field(
        default=0.05, ge=0, le=1, description="latencies closer than this share of the fastest count as equal"
    )
    limits: Limits = Field(default=Limits(), description="loss allowed to a released variant")
    latency_rounds: int = Field(
        default=20,
        ge=1,
        description="rounds in which the variants are timed here by turns, rounds",
        json_schema_extra=NOT_IN_CACHE_KEY,
    )
    latency_calls: int = Field(
        default=10, ge=1, description="calls of a variant in each round, calls", json_schema_extra=NOT_IN_CACHE_KEY
    )
