"""Ground-truth labels of an image: a box, distance and bearing for each obstacle that is visible enough."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sim2edge.capture.config import LabelConfig
from sim2edge.capture.simulator import NO_INSTANCE
from sim2edge.capture.specs import Obstacle, Pose


class Box(BaseModel):
    """One labelled obstacle, as written to `/labels`: pixel edges, `x_max` and `y_max` exclusive."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    label: str = Field(serialization_alias="class")
    instance: int
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    distance_m: float
    bearing_rad: float


def find_boxes(
    instances: NDArray[np.int16], obstacles: tuple[Obstacle, ...], camera: Pose, config: LabelConfig
) -> list[Box]:
    """Label an instance image (height, width) taken from `camera` (its position and heading in the room)."""
    boxes = []
    for instance in np.unique(instances[instances != NO_INSTANCE]):
        rows, columns = np.nonzero(instances == instance)
        x_min, x_max, y_min, y_max = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
        if len(rows) < config.min_pixels or min(x_max - x_min, y_max - y_min) < config.min_side_pixels:
            continue
        obstacle = obstacles[instance]
        distance, bearing = locate(obstacle, camera)
        boxes.append(
            Box(
                label=obstacle.label,
                instance=int(instance),
                x_min=float(x_min),
                y_min=float(y_min),
                x_max=float(x_max),
                y_max=float(y_max),
                distance_m=round(distance, 4),
                bearing_rad=round(bearing, 4),
            )
        )
    return boxes


def locate(obstacle: Obstacle, camera: Pose) -> tuple[float, float]:
    """Distance (m) along the ground to the footprint's nearest point and bearing (rad, left positive) of its middle.

    The distance is 0 inside the footprint, the bearing within -pi..pi."""
    hull = np.array(obstacle.footprint, np.float32)
    distance = max(0.0, -cv2.pointPolygonTest(hull, (camera.x_m, camera.y_m), True))
    bearing = math.atan2(obstacle.y_m - camera.y_m, obstacle.x_m - camera.x_m) - camera.yaw_rad
    return distance, (bearing + math.pi) % math.tau - math.pi
