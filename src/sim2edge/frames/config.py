"""The settings of a stage that makes frames: the format of a frame, and what a batch may lack."""

from pydantic import Field

from sim2edge.config import StageConfig


class FramesConfig(StageConfig):
    """Base of the config of a stage that makes frames."""

    height: int = Field(96, ge=16, le=1080, description="height of a cleaned image, pixels")
    width: int = Field(128, ge=16, le=1920, description="width of a cleaned image, pixels")
    jpeg_quality: int = Field(92, ge=30, le=100, description="JPEG quality of cleaned images, percent")
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
