"""Name what a network's outputs say: floor and obstacles, with class names and boxes in pixels.

classes = name_classes(["chair", "table"], postprocess)
detection = name_detections(found, classes, floors, width, height)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sim2edge.recipes import perception


@dataclass(frozen=True)
class Obstacle:
    """One obstacle in an image."""

    label: str
    confidence: float
    """0..1."""
    box: tuple[float, float, float, float]
    """x_min, y_min, x_max, y_max in pixels of the given image."""
    distance_m: float
    """Along the ground, from the camera to its nearest point."""


@dataclass(frozen=True)
class Detection:
    """The floor and the obstacles found in an image."""

    floor: str
    floor_confidence: float
    """0..1."""
    obstacles: tuple[Obstacle, ...]
    """By falling confidence."""


def name_classes(names: Sequence[str], postprocess: Mapping[str, Any] | None) -> Mapping[int, str]:
    """Map the class indices of the network to names; classes that are not announced have none.

    Raises:
        ValueError: `announced` is not a list of indices, one for each name.
    """
    announced = (postprocess or {}).get("announced", range(len(names)))
    if not all(isinstance(index, int) for index in announced):
        raise ValueError(f"postprocess.announced: {announced} are not all indices")
    return dict(zip(announced, names, strict=True))


def name_detections(
    found: perception.Detections, classes: Mapping[int, str], floors: tuple[str, ...], width: int, height: int
) -> Detection:
    """Translate indices to names, and boxes to pixels of an image `width` x `height`."""
    floor = int(found.floor.argmax())
    confidence = float(found.floor[floor])
    boxes, scores, distances = found.boxes.tolist(), found.scores.tolist(), found.distances_m.tolist()
    obstacles = tuple(
        Obstacle(classes[kind], score, (left * width, top * height, right * width, bottom * height), distance)
        for kind, score, (left, top, right, bottom), distance in zip(
            found.classes.tolist(), scores, boxes, distances, strict=True
        )
    )
    return Detection(floors[floor], confidence, obstacles)
