"""What a model has to reach."""

from pydantic import Field

from sim2edge.config import StageConfig


class Floors(StageConfig):
    """The least a model may score on the test split, whatever the champion does."""

    floor_accuracy: float = Field(default=0.95, ge=0, le=1, description="share of frames with the right floor")
    map_50: float = Field(default=0.5, ge=0, le=1, description="COCO mAP at IoU 0.5")
    worst_class_ap_50: float = Field(default=0.1, ge=0, le=1, description="AP at IoU 0.5 of the worst class")


class ValidateConfig(StageConfig):
    """Floors, and how much worse than the champion a model may be on the same frames."""

    floors: Floors = Field(default=Floors(), description="the least that is accepted")
    tolerance: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="loss against the champion that is taken for noise: accuracy and mAP, 0..1",
    )
    distance_tolerance_m: float = Field(
        default=0.1, ge=0, le=10, description="rise of the mean distance error that is taken for noise, metres"
    )
    batch_size: int = Field(
        default=64, ge=1, le=4096, description="frames at once", json_schema_extra={"decisive": False}
    )
    threads: int = Field(
        default=1, ge=0, le=256, description="CPU threads; 0: all cores", json_schema_extra={"decisive": False}
    )
