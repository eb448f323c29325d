"""The config of the clean stage: the requirements for episodes and frames, and the format of a cleaned frame."""

from pydantic import Field

from sim2edge.frames.config import FramesConfig


class CleanConfig(FramesConfig):
    """All settings that affect the frames, besides the episodes."""

    only_successful: bool = Field(True, description="whether failed episodes are left out")
    tolerance_s: float = Field(
        0.04, gt=0, le=1, description="largest time between an image and its scan, pose, command or label, seconds"
    )
    lidar_beams: int | None = Field(
        None, ge=1, le=100_000, description="required beams of a scan; null: those of the first readable scan"
    )
    workers: int = Field(
        2,
        ge=1,
        le=256,
        description="most processes that read episodes in parallel",
        json_schema_extra={"affects_cache_key": False},
    )
