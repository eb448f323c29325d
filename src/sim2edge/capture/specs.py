"""Define the description of an episode: plain data from which every simulator builds the same world.

It is written to `config.yaml`. Frames: a room's origin is the middle of its floor, x and y along its walls, z up.
Lengths are metres, colours RGB 0..1.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from sim2edge.episodes.moment import Layout, Pose

Vector = tuple[float, float, float]
Polygon = tuple[tuple[float, float], ...]
DriverName = Literal["expert", "noisy", "explore", "policy"]

WALL_HEIGHT_M = 6.0
"""Higher than the tilted camera sees across a large room, so that no ceiling is needed."""

WHEEL_RADIUS_M = 0.06
TRACK_M = 0.27
"""Distance between the wheels, metres."""

LIDAR_3D_HEIGHT_M = 0.4
"""Height of the 3D LiDAR, if any: above the camera."""

CAMERA_AHEAD_M = 0.15
"""Distance of the camera in front of the robot's middle."""


class Spec(BaseModel):
    """Base of an episode's description: immutable, written to `config.yaml`, read back from it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Part(Spec):
    """One solid: `size` is half sides (box), radius and half length along z (cylinder, capsule), or radius (sphere)."""

    shape: Literal["box", "cylinder", "capsule", "sphere"]
    size: tuple[float, ...]
    position: Vector
    quaternion: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    rgb: Vector

    @property
    def top_m(self) -> float:
        """Height of its highest point, metres."""
        if self.shape in ("box", "cylinder"):
            return self.position[2] + self.size[-1]
        if self.shape == "sphere":
            return self.position[2] + self.size[0]
        _, i, j, _ = self.quaternion
        return self.position[2] + self.size[0] + self.size[1] * abs(1 - 2 * (i * i + j * j))


class Motion(Spec):
    """A walk to and fro on the straight line from an obstacle's pose to another place (`movers.py`)."""

    to_x_m: float
    to_y_m: float
    speed_m_s: float
    phase: float
    """Progress on the way there and back at time 0, 0..1."""


class Obstacle(Spec):
    """One obstacle: its parts in its own frame, its pose, and the hulls of its projection onto the floor."""

    instance: int
    label: str
    """One of `CLASSES`."""
    x_m: float
    y_m: float
    yaw_rad: float
    parts: tuple[Part, ...]
    footprints: tuple[Polygon, ...]
    """Convex polygons in the obstacle's own frame, metres: one, or one for each jamb of a door frame."""
    motion: Motion | None = None

    @property
    def pose(self) -> Pose:
        """Its pose in the room; for a walker, at the start of its walk."""
        return Pose(self.x_m, self.y_m, self.yaw_rad)

    @property
    def top_m(self) -> float:
        """Height of its highest point, metres."""
        return max(part.top_m for part in self.parts)


class Light(Spec):
    """A lamp that shines in all directions below the ceiling."""

    position: Vector
    rgb: Vector


class Rug(Spec):
    """A rectangle of another floor, painted on the room's floor texture: too thin to affect robot and LiDAR."""

    x_m: float
    y_m: float
    yaw_rad: float
    half_x_m: float
    half_y_m: float
    style: str
    texture_seed: str


class RoomSpec(Spec):
    """A room: a floor of `width_m` x `length_m` around the origin, and the walls on it."""

    layout: Layout
    width_m: float
    length_m: float
    walls: tuple[Part, ...]
    """Upright boxes along x and y (no rotation): the four around the floor first, then those inside."""
    floor: str
    """One of `FLOORS`."""
    style: str
    """Style of its floor's texture (`floors.py`)."""
    texture_seed: str
    rugs: tuple[Rug, ...]
    wall_rgb: Vector
    obstacles: tuple[Obstacle, ...]
    """In the order of their instances."""
    decorations: tuple[Part, ...]
    """Doors, pictures and skirting boards: seen by the camera only."""
    lights: tuple[Light, ...]
    ambient: float


class RobotSpec(Spec):
    """The robot of one episode."""

    mass_kg: float
    wheel_friction: float
    speed_m_s: float
    slip: tuple[float, float]
    """Share of the left and the right wheel's travel without motion, unknown to odometry."""
    gyro_bias_rad_s: float


class CameraSpec(Spec):
    """Mount and settings of one episode's camera."""

    height_m: float
    tilt_deg: float
    """Below the horizon."""
    yaw_deg: float
    """To the left of ahead."""
    roll_deg: float
    """Clockwise as seen by the camera."""
    exposure: float
    """Gain of all channels."""
    tint: Vector
    """Gain of each channel."""
    noise: float
    """Standard deviation of a channel's noise, 0..255."""
    shutter_s: float
    """Exposure time: motion during it is blurred."""
    readout_s: float
    """Time from the first row read to the last: motion during it distorts the image."""


class EpisodeSpec(Spec):
    """The complete description of an episode."""

    episode_id: str
    seed: str
    room: RoomSpec
    robot: RobotSpec
    camera: CameraSpec
    driver: DriverName
    start: Pose
    checkpoints: tuple[tuple[float, float], ...]
    """Places to pass in turn, the goal last; each is reachable from the previous one."""
