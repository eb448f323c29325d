"""The capture stage's config: how many episodes, which sensors, and from which ranges rooms are drawn.

A pair is a range: every episode draws its value uniformly from it.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sim2edge.config import StageConfig

RATE_HZ = 10
"""Control ticks, images and scans a simulated second."""


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the range starts at {pair[0]:g} and ends before it, at {pair[1]:g}")
    return pair


def _whole_and_ordered(pair: tuple[int, int]) -> tuple[int, int]:
    _ordered(pair)
    return pair


Positive = Annotated[float, Field(gt=0, le=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
FractionRange = Annotated[tuple[Fraction, Fraction], AfterValidator(_ordered)]
Tilt = Annotated[float, Field(ge=0, le=45)]
TiltRange = Annotated[tuple[Tilt, Tilt], AfterValidator(_ordered)]
Side = Annotated[float, Field(ge=2.5, le=12)]
SideRange = Annotated[tuple[Side, Side], AfterValidator(_ordered)]
Count = Annotated[int, Field(ge=0, le=60)]
CountRange = Annotated[tuple[Count, Count], AfterValidator(_whole_and_ordered)]


class Section(BaseModel):
    """Base of the nested sections: immutable, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class CameraConfig(Section):
    """The camera of the robot."""

    backend: Literal["auto", "egl", "ray"] = Field(
        default="auto",
        description="what draws the images: EGL, ray casting (needs no GL), or EGL where a probe finds it works",
    )
    width: int = Field(default=160, ge=32, le=1920, description="image width, pixels")
    height: int = Field(default=120, ge=24, le=1080, description="image height, pixels")
    fov_deg: float = Field(default=60.0, ge=20, le=120, description="vertical field of view, degrees")
    quality: int = Field(default=92, ge=30, le=100, description="JPEG quality, percent")
    shadows: bool = Field(default=True, description="whether the main light casts shadows")


class LidarConfig(Section):
    """The 2D LiDAR of the robot."""

    beams: int = Field(default=360, ge=8, le=4096, description="beams a scan")
    fov_deg: float = Field(default=360.0, gt=0, le=360, description="angle that the beams span, centred ahead, degrees")
    min_range_m: float = Field(default=0.12, ge=0.0, le=1.0, description="nearer returns are lost, metres")
    max_range_m: float = Field(default=8.0, gt=1.0, le=100, description="farther returns are lost, metres")
    noise_m: float = Field(default=0.01, ge=0, le=0.5, description="standard deviation of a range, metres")
    dropout: float = Field(default=0.01, ge=0, le=1, description="fraction of returns lost at random")


class RoomConfig(Section):
    """Rooms: sides, obstacles and decoration."""

    side_m: SideRange = Field(default=(4.0, 6.0), description="length of a wall, metres")
    obstacles: CountRange = Field(default=(6, 9), description="obstacles in a room")
    gap_m: float = Field(default=0.12, ge=0, le=5, description="least free distance between two obstacles, metres")
    decorations: CountRange = Field(default=(2, 6), description="doors and pictures on the walls")


class LightingConfig(Section):
    """Lights under the ceiling."""

    lights: Annotated[tuple[int, int], AfterValidator(_whole_and_ordered)] = Field(default=(1, 2), description="lights")
    brightness: FractionRange = Field(default=(0.5, 0.8), description="diffuse strength of all lights together, 0..1")
    ambient: FractionRange = Field(default=(0.35, 0.55), description="light without direction, 0..1")


class RobotConfig(Section):
    """The differential-drive robot and its driver."""

    mass_kg: PositiveRange = Field(default=(6.0, 10.0), description="mass without wheels, kilograms")
    wheel_friction: FractionRange = Field(default=(0.7, 1.0), description="sliding friction of the wheels on the floor")
    speed_m_s: PositiveRange = Field(default=(0.4, 0.7), description="cruising speed, metres a second")
    camera_height_m: PositiveRange = Field(default=(0.28, 0.32), description="camera above the floor, metres")
    camera_tilt_deg: TiltRange = Field(default=(6.0, 12.0), description="camera tilt below the horizon, degrees")


class LabelConfig(Section):
    """Which visible objects are labelled."""

    min_pixels: int = Field(default=40, ge=1, description="least visible pixels of a labelled object")
    min_side_pixels: int = Field(default=5, ge=1, description="least width and height of a box, pixels")


class CaptureConfig(StageConfig):
    """All that decides a batch besides its id."""

    episodes: int = Field(default=200, ge=1, le=10_000, description="episodes to capture")
    episode_seconds: float = Field(default=20.0, ge=1, le=3600, description="simulated seconds an episode lasts")
    simulator: Literal["mujoco"] = Field(default="mujoco", description="which simulator drives the robot")
    workers: int = Field(
        default=0, ge=0, le=256, description="processes; 0 means one a core", json_schema_extra={"decisive": False}
    )
    camera: CameraConfig = Field(default=CameraConfig(), description="camera")
    lidar: LidarConfig = Field(default=LidarConfig(), description="LiDAR")
    room: RoomConfig = Field(default=RoomConfig(), description="rooms")
    lighting: LightingConfig = Field(default=LightingConfig(), description="lights")
    robot: RobotConfig = Field(default=RobotConfig(), description="robot")
    labels: LabelConfig = Field(default=LabelConfig(), description="labels")

    @property
    def frames(self) -> int:
        """Frames of an episode that runs its whole time."""
        return round(self.episode_seconds * RATE_HZ)
