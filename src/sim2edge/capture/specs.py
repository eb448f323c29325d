"""What describes an episode: plain data from which every simulator builds the same world, written to `config.yaml`.

Frames: a room's origin is the middle of its floor, x and y along its walls, z up. Lengths are metres, colours RGB 0..1.
"""

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

Vector = tuple[float, float, float]
Polygon = tuple[tuple[float, float], ...]

WALL_HEIGHT_M = 6.0
"""Above what the tilted camera sees across a large room, so that no ceiling is needed."""

ROBOT_RADIUS_M = 0.175
"""Of the round chassis; the wheels are inside."""

LIDAR_HEIGHT_M = 0.15
"""Below seats and table tops, so that the LiDAR sees legs."""

CAMERA_AHEAD_M = 0.15
"""How far the camera is in front of the robot's middle."""


class Spec(BaseModel):
    """Base of everything that describes an episode: immutable, written to `config.yaml`, read back from it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Part(Spec):
    """One solid: `size` is half sides (box), radius and half length along z (cylinder, capsule), or radius (sphere)."""

    shape: Literal["box", "cylinder", "capsule", "sphere"]
    size: tuple[float, ...]
    position: Vector
    quaternion: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    rgb: Vector


class Pose(NamedTuple):
    """Where the robot stands in the room; the yaw is counter-clockwise from the room's x axis."""

    x_m: float
    y_m: float
    yaw_rad: float


class Obstacle(Spec):
    """One obstacle: its parts in its own frame, where it stands, and the hull of its shadow on the floor."""

    instance: int
    label: str
    """One of `CLASSES`."""
    x_m: float
    y_m: float
    yaw_rad: float
    parts: tuple[Part, ...]
    footprint: Polygon
    """Convex polygon in the room's frame, metres."""


class Light(Spec):
    """A lamp that shines in all directions below the ceiling."""

    position: Vector
    rgb: Vector


class RoomSpec(Spec):
    """A rectangular room around the origin."""

    width_m: float
    length_m: float
    floor: str
    """One of `FLOORS`."""
    texture_seed: str
    wall_rgb: Vector
    obstacles: tuple[Obstacle, ...]
    decorations: tuple[Part, ...]
    """Doors, pictures and skirting boards: seen by the camera only."""
    lights: tuple[Light, ...]
    ambient: float


class RobotSpec(Spec):
    """The robot of one episode."""

    mass_kg: float
    wheel_friction: float
    speed_m_s: float
    camera_height_m: float
    camera_tilt_deg: float


class EpisodeSpec(Spec):
    """All that makes an episode."""

    episode_id: str
    seed: str
    room: RoomSpec
    robot: RobotSpec
    start: Pose
