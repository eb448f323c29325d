"""The config of the clean stage: the requirements for episodes and frames, and the format of a cleaned frame."""

from pydantic import Field

from sim2edge.config import StageConfig


class CleanConfig(StageConfig):
    """All settings that affect the frames, besides the episodes."""

    height: int = Field(96, ge=16, le=1080, description="height of a cleaned image, pixels")
    width: int = Field(128, ge=16, le=1920, description="width of a cleaned image, pixels")
    jpeg_quality: int = Field(92, ge=30, le=100, description="JPEG quality of cleaned images, percent")
    only_successful: bool = Field(True, description="whether failed episodes are left out")
    tolerance_s: float = Field(
        0.04, gt=0, le=1, description="largest time between an image and its scan, pose, command or label, seconds"
    )
    lidar_beams: int | None = Field(
        None, ge=1, le=100_000, description="required beams of a scan; null: those of the first readable scan"
    )
    min_contrast: float = Field(
        3.0, ge=0, le=127, description="images whose grey levels deviate less are blank, levels of 255"
    )
    box_slack_px: float = Field(
        0.5, ge=0, le=10, description="boxes that exceed the captured image by at most this are clipped to it, pixels"
    )
    max_quarantined_fraction: float = Field(
        0.5, ge=0, le=1, description="largest accepted share of bad episodes, and of bad frames, in a batch"
    )
    strict: bool = Field(False, description="whether the first bad episode or frame stops the stage")
    row_group_rows: int = Field(512, ge=1, le=100_000, description="frames in a row group of frames.parquet")
    report_frames: int = Field(12, ge=0, le=200, description="sample frames shown in report.html")
    workers: int = Field(
        2,
        ge=1,
        le=256,
        description="most processes that read episodes in parallel",
        json_schema_extra={"affects_cache_key": False},
    )
