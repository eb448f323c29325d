"""The clean stage's config: which episodes and frames are good enough, and what a cleaned frame looks like."""

from pydantic import Field

from sim2edge.config import StageConfig


class CleanConfig(StageConfig):
    """All that decides the frames besides the episodes."""

    height: int = Field(96, ge=16, le=1080, description="height of a cleaned image, pixels")
    width: int = Field(128, ge=16, le=1920, description="width of a cleaned image, pixels")
    jpeg_quality: int = Field(92, ge=30, le=100, description="JPEG quality of cleaned images, percent")
    only_successful: bool = Field(True, description="whether episodes that did not succeed are left out")
    tolerance_s: float = Field(
        0.04, gt=0, le=1, description="farthest a scan, pose, command or label may be from its image, seconds"
    )
    lidar_beams: int | None = Field(
        None, ge=1, le=100_000, description="beams a scan must have; null: as many as the first readable scan"
    )
    min_contrast: float = Field(
        3.0, ge=0, le=127, description="images whose grey levels deviate less than this are blank, levels of 255"
    )
    box_slack_px: float = Field(
        0.5, ge=0, le=10, description="boxes may stick out of the captured image this far and are clipped, pixels"
    )
    max_quarantined_fraction: float = Field(
        0.5, ge=0, le=1, description="largest share of bad episodes, and of bad frames, that a batch may have"
    )
    strict: bool = Field(False, description="whether the first bad episode or frame stops the stage")
    row_group_rows: int = Field(512, ge=1, le=100_000, description="frames in a row group of frames.parquet")
    report_frames: int = Field(12, ge=0, le=200, description="sample frames shown in report.html")
    workers: int = Field(
        2,
        ge=1,
        le=256,
        description="processes that read episodes, when there are many",
        json_schema_extra={"affects_cache_key": False},
    )
