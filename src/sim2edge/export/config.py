"""The settings of the export stage."""

from pydantic import Field

from sim2edge.config import StageConfig


class Limits(StageConfig):
    """What a variant may lose against the trained network, on the same held-out frames."""

    min_floor_accuracy: float = Field(
        default=0.9, ge=0, le=1, description="floor accuracy below which no variant is released"
    )
    max_floor_accuracy_drop: float = Field(default=0.02, ge=0, le=1, description="floor accuracy lost, absolute")
    max_map50_drop: float = Field(default=0.03, ge=0, le=1, description="mAP@50 lost, absolute")
    min_agreement: float = Field(
        default=0.85, ge=0, le=1, description="F1 of a variant's detections against those of the trained network"
    )
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
    """How variants are made, compared and chosen."""

    calibration_frames: int = Field(
        default=256, ge=1, description="validation frames that set the ranges of int8, frames"
    )
    parity_frames: int = Field(default=400, ge=1, description="test frames every variant is compared on, frames")
    latency_rounds: int = Field(default=20, ge=1, description="rounds in which the variants take turns, rounds")
    latency_calls: int = Field(default=10, ge=1, description="calls of a variant in each round, calls")
    threads: int = Field(default=1, ge=1, le=16, description="threads of torch and of the device's runtimes, threads")
    tie: float = Field(
        default=0.05, ge=0, le=1, description="latencies closer than this share of the fastest count as equal"
    )
    limits: Limits = Field(default=Limits(), description="what a variant may lose to still be released")
