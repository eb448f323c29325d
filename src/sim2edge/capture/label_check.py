"""Check a frame's labels against geometry and the exact scan, if possible by other methods than they were made.

    errors = check_labels(labels, view, spec, config)      # [] without errors

Nothing is rendered: an error is a defect of the labels, of the simulator's segmentation or of its camera mount.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.footprints import distance_to, place, placed_footprints
from sim2edge.capture.labels import FrameLabels, camera_pose, floor_ahead, floor_at
from sim2edge.capture.projection import Outlines, Projector, Window, in_frame, solid_of
from sim2edge.capture.simulator import Observation
from sim2edge.capture.specs import EpisodeSpec, Obstacle
from sim2edge.episodes.formats import beam_angles
from sim2edge.episodes.moment import LIDAR_HEIGHT_M, Box, Pose

Floats = NDArray[np.float64]

SLACK_PX = 3.0
"""Shift in the image allowed for suspension, rasterisation and parts without a footprint of their own."""

SLACK_M = 0.05
ROUNDING_M = 0.01
SLACK_RAD = 0.03
SOLID = 0.8
"""Share of the beams towards an obstacle that have to hit it before the hits are taken to include its nearest point."""


@dataclass(frozen=True)
class Scene:
    """The data that the boxes of one frame are checked against."""

    view: Observation
    spec: EpisodeSpec
    projector: Projector
    angles: Floats
    camera: Pose
    hits: Floats
    """End points of beams in the room, metres (n, 2); NaN for no return."""


def check_labels(labels: FrameLabels, view: Observation, spec: EpisodeSpec, config: CaptureConfig) -> list[str]:
    """Return one line for each error, naming instance and class, or the field of the frame."""
    angles = beam_angles(config.lidar)
    ranges = np.where(np.isfinite(view.ranges), view.ranges, np.nan)
    turned = angles + view.pose.yaw_rad
    hits = np.stack([np.cos(turned), np.sin(turned)], axis=1) * ranges[:, None] + view.pose[:2]
    projector = Projector(spec.camera, config.camera)
    scene = Scene(view, spec, projector, angles, camera_pose(spec, view.pose), hits)
    found = [f"{box.label} {box.instance}: {words}" for box in labels.boxes for words in _check_box(box, scene)]
    return [*found, *_missing(labels, view, spec, config), *_floors(labels, view, spec), *_free(labels, scene, config)]


def _check_box(box: Box, scene: Scene) -> Iterator[str]:
    obstacles = scene.spec.room.obstacles
    if not 0 <= box.instance < len(obstacles):
        yield "there is no such instance"
        return
    obstacle, pose = obstacles[box.instance], scene.view.obstacles[box.instance]
    if box.label != obstacle.label:
        yield f"the obstacle is a {obstacle.label}"
    for name in ("occlusion", "truncation"):
        if not 0 <= getattr(box, name) <= 1:
            yield f"{name} {getattr(box, name):g} is not within 0..1"
    outlines = scene.projector.outlines(solid_of(obstacle), in_frame(pose, scene.view.pose))
    yield from _in_image(box, scene, outlines)
    yield from _bearing(box, scene, outlines.bounds)
    yield from _distance(box, scene, obstacle, pose)
    yield from _space(box, scene, obstacle, pose)


def _in_image(box: Box, scene: Scene, outlines: Outlines) -> Iterator[str]:
    image, bounds = scene.projector.image, outlines.bounds
    seen = Window(box.x_min, box.y_min, box.x_max, box.y_max)
    if not image.contains(seen) or seen.x_min >= seen.x_max or seen.y_min >= seen.y_max:
        yield f"the box {_edges(seen)} is not one within the image"
    grown = Window(bounds.x_min - SLACK_PX, bounds.y_min - SLACK_PX, bounds.x_max + SLACK_PX, bounds.y_max + SLACK_PX)
    if not grown.contains(seen):
        yield f"the box {_edges(seen)} leaves the silhouette's bounds {_edges(bounds)}"
    pixels = int(np.count_nonzero(scene.view.instances == box.instance))
    area, around = outlines.area(image), seen.x_max - seen.x_min + seen.y_max - seen.y_min
    if pixels > area * 1.1 + 2 * around:
        yield f"{pixels} pixels show it, its silhouette has {area:.0f}"
    hidden = max(0.0, 1 - pixels / area) if area else 0.0
    # The pixel count of a small or thin object depends on chance.
    if abs(hidden - box.occlusion) > 0.1 + 0.3 * around / max(1, pixels):
        yield f"occlusion {box.occlusion:.2f}, but {hidden:.2f} of its silhouette is hidden"
    if box.truncation > 0.1 and image.contains(bounds):
        yield f"truncation {box.truncation:.2f}, but all of it is in the image"


def _edges(window: Window) -> str:
    return "(" + ", ".join(f"{edge:.1f}" for edge in window) + ")"


def _bearing(box: Box, scene: Scene, bounds: Window) -> Iterator[str]:
    """Check that the bearing's column, at the height of the 3D box's middle, is within the silhouette's columns."""
    pose, camera = scene.view.obstacles[box.instance], scene.camera
    away = math.dist(pose[:2], camera[:2])
    heading = camera.yaw_rad + box.bearing_rad
    labelled = Pose(camera.x_m + away * math.cos(heading), camera.y_m + away * math.sin(heading), 0)
    local = in_frame(labelled, scene.view.pose)
    # In a doorway, the frame's middle is beside the part in front of the camera.
    if away < _reach(scene.spec.room.obstacles[box.instance]) or abs(box.bearing_rad) > math.radians(60):
        return
    column = float(scene.projector.pixels(np.array([[local.x_m, local.y_m, box.position_m[2]]]))[0, 0])
    if not bounds.x_min - SLACK_PX <= column <= bounds.x_max + SLACK_PX:
        spans = f"{bounds.x_min:.0f}..{bounds.x_max:.0f}"
        yield f"bearing {box.bearing_rad:.3f} rad is column {column:.0f}, it spans {spans}"


def _distance(box: Box, scene: Scene, obstacle: Obstacle, pose: Pose) -> Iterator[str]:
    """Check the distance: no hit may be nearer, and if the obstacle is hit all along, not all may be farther."""
    middle = math.dist(pose[:2], scene.camera[:2])
    gap = min(distance_to(np.array(polygon), 0, 0) for polygon in obstacle.footprints)
    reach = _reach(obstacle)
    if not middle - reach - SLACK_M <= box.distance_m <= middle + gap + SLACK_M:
        yield f"distance {box.distance_m:.2f} m, but its middle is {middle:.2f} m away and it reaches {reach:.2f} m"
    hits, share = _hits(scene, placed_footprints(obstacle, pose))
    if not len(hits):
        return
    nearest = float(np.hypot(*(hits - scene.camera[:2]).T).min())
    if box.distance_m > nearest + SLACK_M:
        yield f"distance {box.distance_m:.2f} m, but the LiDAR hits it at {nearest:.2f} m"
    # Beams that graze a side hit it in steps of several times their distance; one or two hits prove nothing.
    grazing = 3 * nearest * float(np.ptp(scene.angles)) / len(scene.angles)
    if len(hits) > 2 and share > SOLID and box.distance_m < nearest - _overhang(obstacle) - grazing - SLACK_M:
        yield f"distance {box.distance_m:.2f} m, but the LiDAR hits it at {nearest:.2f} m and no nearer"


def _reach(obstacle: Obstacle) -> float:
    """Return the distance from its middle to the farthest corner of its footprints, metres."""
    return max(math.hypot(x, y) for polygon in obstacle.footprints for x, y in polygon)


def _hits(scene: Scene, footprints: list[Floats]) -> tuple[Floats, float]:
    """Return the hits within its footprints, and their share of the beams towards them."""
    corners = np.concatenate(footprints) - scene.view.pose[:2]
    x, y = corners.mean(axis=0)
    middle = math.atan2(y, x)
    edges = _wrap(np.arctan2(corners[:, 1], corners[:, 0]) - middle)
    beams = _wrap(scene.angles + scene.view.pose.yaw_rad - middle)
    towards = (beams >= edges.min()) & (beams <= edges.max())
    landed = towards & ~np.isnan(scene.hits[:, 0])
    landed[landed] = [
        any(distance_to(polygon, x, y) < ROUNDING_M for polygon in footprints) for x, y in scene.hits[landed].tolist()
    ]
    return scene.hits[landed], float(landed.sum() / max(1, towards.sum()))


def _wrap(angles: Floats) -> Floats:
    wrapped: Floats = (angles + math.pi) % math.tau - math.pi
    return wrapped


def _overhang(obstacle: Obstacle) -> float:
    """Return how far its footprints extend beyond its section in the LiDAR's plane, metres."""
    cut = [part for part in obstacle.parts if _bottom(part.position[2], part.top_m) <= LIDAR_HEIGHT_M <= part.top_m]
    if not cut:
        return math.inf
    solid = solid_of(obstacle.model_copy(update={"parts": tuple(cut)}))
    radius: float = max([0.0, *solid.radii.tolist()])
    corners = np.concatenate([np.array(polygon) for polygon in obstacle.footprints])
    apart = np.hypot(*(corners[:, None] - solid.points[None, :, :2]).transpose(2, 0, 1)).min(axis=1)
    farthest: float = apart.max()
    return radius + farthest


def _bottom(middle: float, top: float) -> float:
    return 2 * middle - top


def _space(box: Box, scene: Scene, obstacle: Obstacle, pose: Pose) -> Iterator[str]:
    """Check that the 3D box, transformed to the room, contains the footprints and has the obstacle's top."""
    robot = scene.view.pose
    x, y = place((box.position_m[:2],), robot)[0]
    frame = Pose(float(x), float(y), robot.yaw_rad + box.yaw_rad)
    footprint = np.concatenate(placed_footprints(obstacle, pose)).tolist()
    corners = [in_frame(Pose(corner_x, corner_y, 0), frame) for corner_x, corner_y in footprint]
    over = max(max(abs(c.x_m) - box.size_m[0] / 2, abs(c.y_m) - box.size_m[1] / 2) for c in corners)
    if over > ROUNDING_M:
        yield f"its footprint leaves the 3D box by {over:.2f} m"
    low, high = (box.position_m[2] + sign * box.size_m[2] / 2 for sign in (-1, 1))
    if low < -ROUNDING_M or abs(high - obstacle.top_m) > ROUNDING_M:
        yield f"the 3D box is {low:.2f}..{high:.2f} m high, its top is at {obstacle.top_m:.2f} m"


def _missing(labels: FrameLabels, view: Observation, spec: EpisodeSpec, config: CaptureConfig) -> Iterator[str]:
    labelled = [box.instance for box in labels.boxes]
    for instance in sorted({instance for instance in labelled if labelled.count(instance) > 1}):
        yield f"instance {instance}: labelled {labelled.count(instance)} times"
    for obstacle in spec.room.obstacles:
        rows, columns = np.nonzero(view.instances == obstacle.instance)
        if len(rows) < config.labels.min_pixels or obstacle.instance in labelled:
            continue
        if min(np.ptp(rows), np.ptp(columns)) + 1 >= config.labels.min_side_pixels:
            yield f"{obstacle.label} {obstacle.instance}: {len(rows)} pixels show it, and it has no label"


def _floors(labels: FrameLabels, view: Observation, spec: EpisodeSpec) -> Iterator[str]:
    expected = {
        "floor": floor_ahead(spec.room, view.pose),
        "floor_under": floor_at(spec.room, view.pose.x_m, view.pose.y_m),
    }
    for name, floor in expected.items():
        if getattr(labels, name) != floor:
            yield f"{name}: {getattr(labels, name)}, but it is {floor}"


def _free(labels: FrameLabels, scene: Scene, config: CaptureConfig) -> Iterator[str]:
    if len(labels.free_m) != config.labels.sectors:
        yield f"free_m: {len(labels.free_m)} sectors, not {config.labels.sectors}"
        return
    width = math.tau / config.labels.sectors
    for sector, free in enumerate(labels.free_m):
        start = sector * width - math.pi
        inside = (scene.angles > start + SLACK_RAD / 10) & (scene.angles < start + width - SLACK_RAD / 10)
        if not inside.any():
            continue
        least = min(config.lidar.max_range_m, float(scene.view.ranges[inside].min()))
        border = np.abs(np.abs(scene.angles - start - width / 2) - width / 2) <= SLACK_RAD / 10
        lowest = min(least, float(scene.view.ranges[border].min(initial=math.inf)))
        if not lowest - ROUNDING_M <= free <= least + ROUNDING_M:
            yield f"free_m[{sector}]: {free:.2f} m, but the least range is {least:.2f} m"
