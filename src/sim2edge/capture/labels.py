"""Label one moment with the ground truth: the visible part of each obstacle, the floor, and the free distances.

    labeller = Labeller(spec, config)
    labels = labeller.label(simulator.observe())

Visible pixels are counted in the simulator's instance image; full silhouettes are projected from obstacles'
geometry. Labels refer to the undisturbed image (`camera_effects.py` documents the shifts).
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.footprints import distance_to, placed_footprints
from sim2edge.capture.projection import Outlines, Projector, in_frame, solid_of
from sim2edge.capture.simulator import Observation
from sim2edge.capture.specs import CAMERA_AHEAD_M, EpisodeSpec, Obstacle, RoomSpec
from sim2edge.episodes.formats import beam_angles
from sim2edge.episodes.moment import Box, Pose

LOOK_AHEAD_M = 0.6
"""Distance from the robot's middle to the labelled floor: shown in the lower part of the image, driven on next."""

RUG = "rug"
"""The floor's label on a rug."""


class FrameLabels(BaseModel):
    """The content of one `/labels` message."""

    model_config = ConfigDict(frozen=True)

    floor: str
    """Ahead of the robot: a model learns to predict it from the image."""
    floor_under: str
    boxes: tuple[Box, ...]
    free_m: tuple[float, ...]
    """Smallest exact range in each sector, counter-clockwise from straight behind; 0 for a sector without beams."""


class Labeller:
    """Labels the moments of one episode."""

    def __init__(self, spec: EpisodeSpec, config: CaptureConfig) -> None:
        self._spec, self._limits = spec, config.labels
        self._projector = Projector(spec.camera, config.camera)
        self._solids = [solid_of(obstacle) for obstacle in spec.room.obstacles]
        self._extents = [own_extent(obstacle) for obstacle in spec.room.obstacles]
        self._sectors = Sectors(beam_angles(config.lidar), config.labels.sectors, config.lidar.max_range_m)

    def label(self, view: Observation) -> FrameLabels:
        """Return the ground truth of an observation."""
        pixels = np.bincount(view.instances.ravel() + 1, minlength=1)[1:]
        enough = np.flatnonzero(pixels >= self._limits.min_pixels)
        boxes = [self._box(view, int(instance), int(pixels[instance])) for instance in enough]
        return FrameLabels(
            floor=floor_ahead(self._spec.room, view.pose),
            floor_under=floor_at(self._spec.room, view.pose.x_m, view.pose.y_m),
            boxes=tuple(box for box in boxes if box),
            free_m=self._sectors.least(view.ranges),
        )

    def _box(self, view: Observation, instance: int, visible: int) -> Box | None:
        x, y, width, height = cv2.boundingRect((view.instances == instance).view(np.uint8))
        if min(width, height) < self._limits.min_side_pixels:
            return None
        obstacle, pose = self._spec.room.obstacles[instance], view.obstacles[instance]
        distance, bearing = locate(obstacle, pose, camera_pose(self._spec, view.pose))
        local = in_frame(pose, view.pose)
        hidden, outside = shares(self._projector, self._projector.outlines(self._solids[instance], local), visible)
        middle, size = self._extents[instance]
        return Box(
            label=obstacle.label,
            instance=instance,
            x_min=x,
            y_min=y,
            x_max=x + width,
            y_max=y + height,
            distance_m=round(distance, 4),
            bearing_rad=round(bearing, 4),
            occlusion=round(hidden, 3),
            truncation=round(outside, 3),
            position_m=carry(middle, local),
            size_m=size,
            yaw_rad=round(local.yaw_rad, 4),
        )


def shares(projector: Projector, outlines: Outlines, visible: int) -> tuple[float, float]:
    """Return occlusion and truncation of a silhouette with `visible` visible pixels, 0..1."""
    bounds = outlines.bounds
    inside = outlines.area(projector.image)
    everything = inside if projector.image.contains(bounds) else outlines.area(projector.surroundings)
    return _missing(visible, inside), _missing(inside, everything)


def _missing(part: float, whole: float) -> float:
    return min(1.0, max(0.0, 1 - part / whole)) if whole > 0 else 0.0


def camera_pose(spec: EpisodeSpec, robot: Pose) -> Pose:
    """Return the camera's position and heading on the ground plane."""
    x = robot.x_m + CAMERA_AHEAD_M * math.cos(robot.yaw_rad)
    y = robot.y_m + CAMERA_AHEAD_M * math.sin(robot.yaw_rad)
    return Pose(x, y, robot.yaw_rad + math.radians(spec.camera.yaw_deg))


def locate(obstacle: Obstacle, pose: Pose, camera: Pose) -> tuple[float, float]:
    """Return distance (m) along the ground to the nearest footprint and bearing (rad, left positive) of the middle.

    The distance is 0 inside a footprint, the bearing within -pi..pi."""
    distance = min(distance_to(polygon, camera.x_m, camera.y_m) for polygon in placed_footprints(obstacle, pose))
    bearing = math.atan2(pose.y_m - camera.y_m, pose.x_m - camera.x_m) - camera.yaw_rad
    return distance, (bearing + math.pi) % math.tau - math.pi


def own_extent(obstacle: Obstacle) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return middle and full sides (x, y, z) of the 3D box around an obstacle, in its own frame, metres."""
    plan = np.concatenate([np.array(polygon) for polygon in obstacle.footprints])
    (x_min, y_min), (x_max, y_max) = plan.min(axis=0).tolist(), plan.max(axis=0).tolist()
    bottom = max(0.0, min(2 * part.position[2] - part.top_m for part in obstacle.parts))
    top = obstacle.top_m
    middle = (x_min + x_max) / 2, (y_min + y_max) / 2, (bottom + top) / 2
    return middle, (round(x_max - x_min, 4), round(y_max - y_min, 4), round(top - bottom, 4))


def carry(point: tuple[float, float, float], pose: Pose) -> tuple[float, float, float]:
    """Transform a point from an obstacle's frame to the frame of its pose."""
    cos, sin = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    x, y, z = point
    return round(pose.x_m + cos * x - sin * y, 4), round(pose.y_m + sin * x + cos * y, 4), round(z, 4)


def floor_ahead(room: RoomSpec, robot: Pose) -> str:
    """Return the floor `LOOK_AHEAD_M` ahead of the robot's middle, or at the outer wall if the room ends before."""
    x = robot.x_m + LOOK_AHEAD_M * math.cos(robot.yaw_rad)
    y = robot.y_m + LOOK_AHEAD_M * math.sin(robot.yaw_rad)
    half_x, half_y = room.width_m / 2, room.length_m / 2
    return floor_at(room, min(half_x, max(-half_x, x)), min(half_y, max(-half_y, y)))


def floor_at(room: RoomSpec, x: float, y: float) -> str:
    """Return the floor at a point of the room: one of `FLOORS`."""
    for rug in room.rugs:
        local = in_frame(Pose(x, y, 0), Pose(rug.x_m, rug.y_m, rug.yaw_rad))
        if abs(local.x_m) <= rug.half_x_m and abs(local.y_m) <= rug.half_y_m:
            return RUG
    return room.floor


class Sectors:
    """Equal sectors around the robot, counter-clockwise from straight behind, and the beams in each."""

    def __init__(self, angles: NDArray[np.float64], sectors: int, max_range_m: float) -> None:
        # The slack keeps a beam along a border on its side of it despite rounding.
        sector = np.floor((angles + math.pi) / math.tau * sectors + 1e-9).clip(0, sectors - 1)
        self._looked_into, self._starts = np.unique(sector.astype(int), return_index=True)
        self._count, self._max_range_m = sectors, max_range_m

    def least(self, ranges: NDArray[np.float64]) -> tuple[float, ...]:
        """Return the smallest range in each sector, metres."""
        free = np.zeros(self._count)
        free[self._looked_into] = np.minimum.reduceat(ranges, self._starts).clip(0, self._max_range_m)
        return tuple(np.round(free, 4).tolist())
