"""The config of the capture stage: number of episodes, sensors, and the ranges of rooms, robots and cameras.

A pair is a range: every episode draws its value uniformly from it (domain randomisation), and records the value.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from sim2edge.capture.specs import DriverName
from sim2edge.config import Section, StageConfig
from sim2edge.episodes.moment import RATE_HZ, Layout
from sim2edge.recipes.perception_names import CLASSES


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the range starts at {pair[0]:g} and ends before it, at {pair[1]:g}")
    return pair


def _whole_and_ordered(pair: tuple[int, int]) -> tuple[int, int]:
    _ordered(pair)
    return pair


def _not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("name at least one")
    return values


def _known_classes(names: tuple[str, ...]) -> tuple[str, ...]:
    _not_empty(names)
    for name in names:
        if name not in CLASSES:
            raise ValueError(f"'{name}' is not one of: {', '.join(CLASSES)}")
    return _once_each(names)


def _once_each(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"'{value}' is named twice")
    return values


Positive = Annotated[float, Field(gt=0, le=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
FractionRange = Annotated[tuple[Fraction, Fraction], AfterValidator(_ordered)]
Tilt = Annotated[float, Field(ge=0, le=45)]
TiltRange = Annotated[tuple[Tilt, Tilt], AfterValidator(_ordered)]
Jitter = Annotated[float, Field(ge=-20, le=20)]
JitterRange = Annotated[tuple[Jitter, Jitter], AfterValidator(_ordered)]
Gain = Annotated[float, Field(ge=0.2, le=5)]
GainRange = Annotated[tuple[Gain, Gain], AfterValidator(_ordered)]
Noise = Annotated[float, Field(ge=0, le=64)]
NoiseRange = Annotated[tuple[Noise, Noise], AfterValidator(_ordered)]
Seconds = Annotated[float, Field(ge=0, le=0.1)]
SecondsRange = Annotated[tuple[Seconds, Seconds], AfterValidator(_ordered)]
Slip = Annotated[float, Field(ge=0, le=0.5)]
SlipRange = Annotated[tuple[Slip, Slip], AfterValidator(_ordered)]
Side = Annotated[float, Field(ge=2.5, le=12)]
SideRange = Annotated[tuple[Side, Side], AfterValidator(_ordered)]
Passage = Annotated[float, Field(ge=0.7, le=4)]
PassageRange = Annotated[tuple[Passage, Passage], AfterValidator(_ordered)]
Count = Annotated[int, Field(ge=0, le=60)]
CountRange = Annotated[tuple[Count, Count], AfterValidator(_whole_and_ordered)]


class CameraConfig(Section):
    """The camera of the robot."""

    backend: Literal["ray", "egl"] = Field(
        default="ray", description="renderer of the images: ray casting (the same everywhere), or EGL"
    )
    renderer: str = Field(
        default="", description="EGL's renderer and driver, as named by a refused run; Webots' release is filled in"
    )
    width: int = Field(default=160, ge=32, le=1920, description="image width, pixels")
    height: int = Field(default=120, ge=24, le=1080, description="image height, pixels")
    fov_deg: float = Field(default=60.0, ge=20, le=120, description="vertical field of view, degrees")
    quality: int = Field(default=92, ge=30, le=100, description="JPEG quality, percent")
    shadows: bool = Field(default=True, description="whether the main light casts shadows")
    height_m: PositiveRange = Field(default=(0.28, 0.32), description="camera above the floor, metres")
    tilt_deg: TiltRange = Field(default=(6.0, 12.0), description="camera tilt below the horizon, degrees")
    yaw_deg: JitterRange = Field(default=(-2.0, 2.0), description="rotation to the left, degrees")
    roll_deg: JitterRange = Field(default=(-1.5, 1.5), description="rotation clockwise, degrees")
    exposure: GainRange = Field(default=(0.85, 1.2), description="gain of all channels")
    tint: GainRange = Field(default=(0.94, 1.06), description="gain of each channel")
    noise: NoiseRange = Field(default=(0.0, 4.0), description="standard deviation of a channel's noise, 0..255")
    shutter_s: SecondsRange = Field(default=(0.0, 0.02), description="exposure time that blurs turns, seconds")
    readout_s: SecondsRange = Field(
        default=(0.0, 0.02), description="time from the first row read to the last (rolling shutter), seconds"
    )
    masks: bool = Field(default=False, description="whether to log which obstacle each pixel shows")
    images: bool = Field(default=False, description="whether to write the images as files, too")


LIDAR_PRESETS: dict[str, dict[str, Any]] = {
    "360_over_360": {"beams": 360, "fov_deg": 360.0},
    "1081_over_270": {"beams": 1081, "fov_deg": 270.0, "max_range_m": 30.0},
}
"""Fields of each preset; fields given beside it take precedence."""


class LidarConfig(Section):
    """The 2D LiDAR of the robot."""

    preset: Literal["", "360_over_360", "1081_over_270"] = Field(
        default="", description="named set of beams, angle and range"
    )
    beams: int = Field(default=360, ge=8, le=4096, description="beams a scan")
    fov_deg: float = Field(default=360.0, gt=0, le=360, description="angle that the beams span, centred ahead, degrees")
    min_range_m: float = Field(default=0.12, ge=0.0, le=1.0, description="nearer returns are lost, metres")
    max_range_m: float = Field(default=8.0, gt=1.0, le=100, description="farther returns are lost, metres")
    noise_m: float = Field(default=0.01, ge=0, le=0.5, description="standard deviation of a range, metres")
    dropout: float = Field(default=0.01, ge=0, le=1, description="fraction of returns lost at random")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return LIDAR_PRESETS.get(str(values.get("preset", "")), {}) | values
        return values


class Lidar3dConfig(Section):
    """The 3D LiDAR of the robot: layers of beams over a full turn."""

    enabled: bool = Field(default=False, description="whether the robot has one")
    layers: int = Field(default=16, ge=2, le=128, description="beams one above another")
    columns: int = Field(default=360, ge=16, le=2048, description="beams around")
    vertical_fov_deg: float = Field(default=30.0, gt=1, le=120, description="angle from lowest to highest, degrees")
    max_range_m: float = Field(default=20.0, gt=1, le=200, description="farther returns are lost, metres")
    noise_m: float = Field(default=0.02, ge=0, le=0.5, description="standard deviation of a range, metres")


class ImuConfig(Section):
    """The inertial measurement unit: 100 samples a second."""

    gyro_noise_rad_s: float = Field(default=0.002, ge=0, le=1, description="standard deviation of a rate, rad/s")
    gyro_bias_rad_s: float = Field(default=0.002, ge=0, le=1, description="standard deviation of an episode's bias")
    accelerometer_noise_m_s2: float = Field(default=0.02, ge=0, le=10, description="standard deviation, m/s2")


class RoomConfig(Section):
    """Rooms: shape, floor, obstacles and decoration."""

    layouts: Annotated[tuple[Layout, ...], AfterValidator(_not_empty)] = Field(
        default=("rectangle", "l", "corridor", "two_rooms", "clutter"), description="shapes of rooms, equally frequent"
    )
    side_m: SideRange = Field(default=(4.0, 6.0), description="length of an outer wall, metres")
    corridor_m: PassageRange = Field(default=(1.8, 2.4), description="width of a corridor, metres")
    door_m: PassageRange = Field(default=(0.95, 1.3), description="width of the door between two rooms, metres")
    classes: Annotated[tuple[str, ...], AfterValidator(_known_classes)] = Field(
        default=CLASSES, description="classes of obstacles in rooms, equally frequent"
    )
    obstacles: CountRange = Field(default=(6, 9), description="obstacles in a room; twice as many in clutter")
    gap_m: float = Field(default=0.12, ge=0, le=5, description="smallest free distance between two obstacles, metres")
    walking: Fraction = Field(default=0.35, description="share of persons who walk to and fro")
    walking_m_s: PositiveRange = Field(default=(0.25, 0.6), description="their speed, metres a second")
    decorations: CountRange = Field(default=(2, 6), description="doors and pictures on the walls")
    rugs: CountRange = Field(default=(0, 1), description="rugs on the floor")
    textures: Literal["training", "held_out", "all"] = Field(
        default="training", description="floor textures: those for training, or those held out for evaluation"
    )


class LightingConfig(Section):
    """Lights under the ceiling."""

    lights: Annotated[tuple[int, int], AfterValidator(_whole_and_ordered)] = Field(default=(1, 2), description="lights")
    brightness: FractionRange = Field(default=(0.5, 0.8), description="diffuse strength of all lights together, 0..1")
    ambient: FractionRange = Field(default=(0.35, 0.55), description="light without direction, 0..1")


class RobotConfig(Section):
    """The differential-drive robot."""

    mass_kg: PositiveRange = Field(default=(6.0, 10.0), description="mass without wheels, kilograms")
    wheel_friction: FractionRange = Field(default=(0.7, 1.0), description="sliding friction of the wheels on the floor")
    speed_m_s: PositiveRange = Field(default=(0.4, 0.7), description="cruising speed, metres a second")
    slip: SlipRange = Field(default=(0.0, 0.03), description="share of a wheel's travel that odometry overestimates")


class DriverConfig(Section):
    """The driver of the robot."""

    kinds: Annotated[tuple[DriverName, ...], AfterValidator(_not_empty)] = Field(
        default=("expert",), description="drivers, in turn: expert, noisy (recoveries), explore (no map), policy"
    )
    noise: float = Field(default=0.25, ge=0, le=0.9, description="share of the time that a noisy driver is disturbed")
    policy: str = Field(default="", description="ONNX file of the LiDAR policy of the driver `policy`")
    policy_sha256: str = Field(
        default="", pattern="^([0-9a-f]{64})?$", description="SHA-256 of that file, whose path proves nothing"
    )


class LabelConfig(Section):
    """Thresholds of labels, and how labels are checked."""

    min_pixels: int = Field(default=40, ge=1, description="smallest number of visible pixels of a labelled object")
    min_side_pixels: int = Field(default=5, ge=1, description="smallest width and height of a box, pixels")
    sectors: int = Field(default=12, ge=4, le=72, description="sectors of free distance around the robot")
    check_every: int = Field(default=25, ge=1, description="every n-th frame is checked against geometry")


class CaptureConfig(StageConfig):
    """All settings that affect a batch, besides its id."""

    episodes: int = Field(default=200, ge=1, le=10_000, description="episodes to capture")
    episode_seconds: float = Field(default=20.0, ge=1, le=3600, description="simulated seconds an episode lasts")
    simulator: Literal["mujoco", "webots"] = Field(default="mujoco", description="simulator")
    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="processes; 0 means one a core",
        json_schema_extra={"affects_cache_key": False},
    )
    verify_every: int = Field(
        default=50,
        ge=0,
        description="every n-th episode is captured twice and compared; 0: none",
        json_schema_extra={"affects_cache_key": False},
    )
    camera: CameraConfig = Field(default=CameraConfig(), description="camera")
    lidar: LidarConfig = Field(default=LidarConfig(), description="2D LiDAR")
    lidar_3d: Lidar3dConfig = Field(default=Lidar3dConfig(), description="3D LiDAR")
    imu: ImuConfig = Field(default=ImuConfig(), description="inertial measurement unit")
    room: RoomConfig = Field(default=RoomConfig(), description="rooms")
    lighting: LightingConfig = Field(default=LightingConfig(), description="lights")
    robot: RobotConfig = Field(default=RobotConfig(), description="robot")
    driver: DriverConfig = Field(default=DriverConfig(), description="driver")
    labels: LabelConfig = Field(default=LabelConfig(), description="labels")

    @model_validator(mode="after")
    def _policy_is_named(self) -> "CaptureConfig":
        named = {bool(self.driver.policy), bool(self.driver.policy_sha256), "policy" in self.driver.kinds}
        if len(named) > 1:
            raise ValueError(
                "driver.policy, driver.policy_sha256 and the driver 'policy' in driver.kinds go together: "
                "give all or none"
            )
        return self

    @model_validator(mode="after")
    def _renderer_is_declared(self) -> "CaptureConfig":
        declared, webots = bool(self.camera.renderer), self.simulator == "webots"
        if not webots and declared != (self.camera.backend == "egl"):
            raise ValueError(
                "camera.renderer goes with camera.backend=egl, whose images depend on the renderer: "
                "give both or none (with any name, the error names the present one)"
            )
        return self

    @property
    def frames(self) -> int:
        """Number of frames of an episode that is not cut short."""
        return round(self.episode_seconds * RATE_HZ)
