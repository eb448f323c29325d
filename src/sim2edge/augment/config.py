"""The config of the augment stage: how episodes are split, and how training frames are augmented and balanced."""

from typing import Self

from pydantic import Field, model_validator

from sim2edge.config import StageConfig


class AugmentConfig(StageConfig):
    """All settings that affect a dataset, besides the frames."""

    seed: int = Field(0, ge=0, description="seed of all random draws")
    validation: float = Field(0.15, gt=0, lt=1, description="share of the drives for validation")
    test: float = Field(0.15, gt=0, lt=1, description="share of the drives for the test")
    copies: int = Field(2, ge=0, le=20, description="varied copies of each training frame, besides the original")
    flip_probability: float = Field(0.5, ge=0, le=1, description="how likely a copy is mirrored left to right")
    crop_probability: float = Field(0.5, ge=0, le=1, description="how likely a copy is cropped and enlarged")
    crop_min_scale: float = Field(0.8, ge=0.3, le=1, description="smallest side of a crop, as a fraction of the image")
    min_visible: float = Field(
        0.4, ge=0, le=1, description="boxes with a smaller share left in a crop are dropped, area"
    )
    brightness: float = Field(30.0, ge=0, le=128, description="largest change of brightness, levels of 255")
    contrast: float = Field(0.25, ge=0, lt=1, description="largest change of contrast, as a fraction")
    blur_probability: float = Field(0.3, ge=0, le=1, description="how likely a copy is blurred")
    blur_max_sigma_px: float = Field(1.0, gt=0, le=5, description="largest standard deviation of the blur, pixels")
    noise_probability: float = Field(0.4, ge=0, le=1, description="how likely a copy gets camera noise")
    noise_max_std: float = Field(8.0, ge=0, le=64, description="largest standard deviation of noise, levels of 255")
    lidar_noise_m: float = Field(0.01, ge=0, le=1, description="standard deviation of added LiDAR noise, metres")
    lidar_dropout: float = Field(0.03, ge=0, le=1, description="largest share of LiDAR returns that a copy loses")
    oversample: float = Field(
        0.5,
        ge=0,
        le=1,
        description="extra copies for rare classes and floors: 0 none, 1 until all are even",
    )
    max_repeat: float = Field(3.0, ge=1, le=10, description="largest factor on the copies of a rare frame")
    class_weight_power: float = Field(
        0.5, ge=0, le=1, description="class weights in the loss are proportional to 1 / count to this power"
    )
    jpeg_quality: int = Field(92, ge=30, le=100, description="JPEG quality of varied images, percent")
    row_group_rows: int = Field(512, ge=1, le=100_000, description="frames in a row group of the dataset's files")
    workers: int = Field(
        2, ge=1, le=256, description="threads that vary images", json_schema_extra={"affects_cache_key": False}
    )

    @model_validator(mode="after")
    def _leave_room_for_training(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation={self.validation:g} and test={self.test:g} leave nothing for training")
        return self
