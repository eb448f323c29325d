"""The config of the ingest stage: the roles of topics, how ticks are built, and what is refused."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from sim2edge.config import Section
from sim2edge.inbox import InboxConfig
from sim2edge.recipes.needs import ROLES as ROLES
from sim2edge.recipes.needs import Role as Role
from sim2edge.recipes.perception_names import CLASSES


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(max_length=16)]


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[str, BeforeValidator(_as_text)]
"""A name that may be a number."""


class TopicsConfig(Section):
    """Topics by role: one name or several, of which the first with messages in a log is used.

    Logs need images; without a name, a role is left out.
    """

    image: Names = Field(
        default=("/camera/image", "/camera/image_raw/compressed", "/camera/image_raw", "/image_raw/compressed"),
        description="camera images",
    )
    scan: Names = Field(default=("/lidar/scan", "/scan"), description="scans of a 2D LiDAR")
    pose: Names = Field(default=("/robot/pose", "/odom", "/pose"), description="poses of the robot")
    command: Names = Field(default=("/robot/control", "/cmd_vel"), description="commands to the motors")
    labels: Names = Field(default=("/labels",), description="ground truth")

    @model_validator(mode="after")
    def _one_role_each(self) -> Self:
        names = [name for role in ROLES for name in self.of(role)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"'{twice}' is named twice")
        return self

    def of(self, role: Role) -> tuple[str, ...]:
        """Return the topic names of one role."""
        names: tuple[str, ...] = getattr(self, role)
        return names


class BeamsConfig(Section):
    """The beams that every scan is resampled to; by default those of our own LiDAR."""

    beams: int = Field(default=360, ge=8, le=4096, description="beams a scan")
    fov_deg: float = Field(default=360.0, gt=0, le=360, description="angle that the beams span, centred ahead, degrees")
    yaw_deg: float | None = Field(
        default=None,
        ge=-360,
        le=360,
        description="rotation of the scanner to the left on the robot, degrees; null: that of the log's transform tree",
    )
    upside_down: bool = Field(
        default=False, description="whether the scanner is mounted upside down; true: the transform tree is not used"
    )
    max_range_m: float = Field(default=100.0, gt=0, le=1000, description="returns beyond this count as none, metres")


class DatasetConfig(Section):
    """What a LeRobot dataset or a donkeycar tub leaves open; used when a folder is delivered."""

    image: str = Field(default="", description="camera to take, by its feature or input; empty: the only one")
    linear: Name = Field(default="", description="action that drives ahead, its name or number; empty: a known name")
    angular: Name = Field(default="", description="action that turns, its name or number; empty: a known name")
    full_speed_m_s: float | None = Field(
        default=None, gt=0, le=100, description="speed at the action 1, metres per second; null: known by its name"
    )
    full_turn_rad_s: float | None = Field(
        default=None,
        ge=-100,
        le=100,
        description="turn to the left at action 1 (of a tub: full left), radians per second; null: known by its name",
    )
    full_steer_deg: float = Field(
        default=25.0, gt=0, lt=90, description="steering angle at the action 1 of a car (see wheelbase_m), degrees"
    )


def _names_as_text(value: Any) -> Any:
    return {str(name): meaning for name, meaning in value.items()} if isinstance(value, dict) else value


class ClassesConfig(Section):
    """Names of obstacle classes in the labels of other producers."""

    map: Annotated[dict[str, str], BeforeValidator(_names_as_text), Field(max_length=256)] = Field(
        default={}, description="the producer's name of a class to ours; to an empty name: its boxes are left out"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = next((name for name in self.map.values() if name not in ("", *CLASSES)), None)
        if unknown is not None:
            raise ValueError(f"map: '{unknown}' is not one of: {', '.join(CLASSES)}")
        return self


class FramesConfig(Section):
    """Coordinate frames of the transform tree."""

    base: Names = Field(
        default=(),
        description="frames of the robot itself (x ahead), in order of preference; empty: the odometry's child frame, "
        "base_link, base_footprint, base, robot",
    )
    scan: str = Field(
        default="", description="frame of the scanner to use, if a topic has scans of several; empty: there is one"
    )


class IngestConfig(InboxConfig):
    """All settings that affect a batch, besides the delivered logs."""

    topics: TopicsConfig = Field(default=TopicsConfig(), description="topics")
    lidar: BeamsConfig = Field(default=BeamsConfig(), description="LiDAR")
    dataset: DatasetConfig = Field(default=DatasetConfig(), description="datasets of other projects")
    frames: FramesConfig = Field(default=FramesConfig(), description="coordinate frames")
    classes: ClassesConfig = Field(default=ClassesConfig(), description="classes")
    wheelbase_m: float | None = Field(
        default=None,
        gt=0,
        le=10,
        description="distance of the axles of a car that steers, metres; null: the robot turns on the spot",
    )
    floor: Literal["", "wood", "tile", "carpet", "concrete"] = Field(
        default="", description="floor, if labels do not name one"
    )
    tolerance_s: float = Field(
        default=0.05, gt=0, le=1, description="largest time between an image and its scan or pose, seconds"
    )
    hold_s: float = Field(
        default=0.5, ge=0, le=10, description="how long a command stays in force without a new one, seconds"
    )
    max_gap_s: float = Field(
        default=2.0, gt=0, le=3600, description="longest pause in images, scans or poses; a longer one is a clock jump"
    )
    jpeg_quality: int = Field(
        default=92, ge=30, le=100, description="quality of images encoded here, percent; a JPEG is kept unchanged"
    )
    max_pixels: int = Field(default=8_300_000, ge=1024, le=100_000_000, description="largest image, pixels")
    drive: str = Field(
        default="",
        max_length=200,
        description="drive that all logs are pieces of; empty: found by names, times and poses",
    )
    drive_pattern: str = Field(
        default="",
        max_length=200,
        description="regular expression on a log's path, whose first group names the drive that it is a piece of",
    )
    skip_bad: bool = Field(
        default=False,
        description="leave bad logs out, and keep the readable start of truncated ones, instead of refusing the batch",
    )

    @field_validator("drive_pattern")
    @classmethod
    def _has_a_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if pattern and not groups:
            raise ValueError("has no group, such as (run-[0-9]+)")
        return pattern

    @model_validator(mode="after")
    def _one_way_to_turn(self) -> Self:
        if self.wheelbase_m is not None and self.dataset.full_turn_rad_s is not None:
            raise ValueError("wheelbase_m and dataset.full_turn_rad_s: name one of them: a car turns by steering")
        return self
