"""Read the boxes of image annotations made by other tools: Foxglove's `ImageAnnotations`, ROS's `Detection2DArray`.

Both give corners and a name only: neither the distance nor the bearing of an object, nor the floor.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

LINE_LOOP, LINE_STRIP = 2, 3
"""Kinds of `PointsAnnotation` that can be an outline; points and loose lines are decoration."""
NAMES = ("label", "class", "class_name", "class_id", "category", "name")
"""Keys of an outline's metadata that hold its class."""
FIGURES = re.compile(r"(\s*[:#(\[]|\s)\s*\d[\d.,]*\s*(%|m)?\s*[)\]]?\s*$")
"""What captions have after the class: a score, a distance, a number."""


class Outline(NamedTuple):
    """A named rectangle in the image; edges in pixels."""

    name: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float


def read_annotations(message: Any) -> list[Outline]:
    """Return the outlines of an `ImageAnnotations`, each with the class of its metadata, else of its text.

    A text belongs to the outline it is nearest to; of equally near ones, to that with its own number.

    Raises:
        ValueError: an outline has neither.
    """
    rectangles = [(each, _around(each.points)) for each in message.points if _is_outline(each)]
    names = [_metadata_name(each) for each, _ in rectangles]
    unnamed = [number for number, name in enumerate(names) if not name]
    texts = [FIGURES.sub("", text.text).strip() for text in message.texts]
    for number, text in _pair([rectangles[n][1] for n in unnamed], [text.position for text in message.texts]):
        names[unnamed[number]] = texts[text]
    for number, name in enumerate(names):
        if not name:
            raise ValueError(f"points {number}: an outline without a text and without metadata 'label': its class")
    return [Outline(name, *corners) for name, (_, corners) in zip(names, rectangles, strict=True)]


def _is_outline(points: Any) -> bool:
    if points.type == LINE_STRIP:
        first, last = (points.points[0], points.points[-1]) if len(points.points) > 3 else (None, points)
        return first is not None and (first.x, first.y) == (last.x, last.y)
    return bool(points.type == LINE_LOOP and len(points.points) > 1)


def _around(points: Sequence[Any]) -> tuple[float, float, float, float]:
    xs, ys = [float(point.x) for point in points], [float(point.y) for point in points]
    return min(xs), min(ys), max(xs), max(ys)


def _metadata_name(points: Any) -> str:
    values = {pair.key.lower(): pair.value.strip() for pair in getattr(points, "metadata", ())}
    return next((values[key] for key in NAMES if values.get(key)), "")


def _pair(rectangles: Sequence[tuple[float, float, float, float]], places: Sequence[Any]) -> list[tuple[int, int]]:
    """Pair rectangles and places, the nearest first, each at most once."""
    near = sorted(
        (_distance(corners, place), abs(number - text), number, text)
        for number, corners in enumerate(rectangles)
        for text, place in enumerate(places)
    )
    paired: dict[int, int] = {}
    for _, _, number, text in near:
        if number not in paired and text not in paired.values():
            paired[number] = text
    return list(paired.items())


def _distance(corners: tuple[float, float, float, float], place: Any) -> float:
    x_min, y_min, x_max, y_max = corners
    aside = max(x_min - place.x, 0, place.x - x_max)
    above = max(y_min - place.y, 0, place.y - y_max)
    return round(math.hypot(aside, above), 1)


def read_detections(message: Any) -> list[Outline]:
    """Return the boxes of a `vision_msgs/Detection2DArray`, each with its most likely class.

    A turned box becomes the upright one around it.

    Raises:
        ValueError: a detection has no class.
    """
    found = []
    for number, detection in enumerate(message.detections):
        name = max(((_score(each), _class(each)) for each in detection.results), default=(0.0, ""))[1]
        if not name:
            raise ValueError(f"detections {number}: results: no class")
        found.append(Outline(name, *_upright(detection.bbox)))
    return found


def _score(result: Any) -> float:
    return float(getattr(result, "hypothesis", result).score)


def _class(result: Any) -> str:
    """Return the class of a hypothesis: a field of its own since vision_msgs 4, before that `id`."""
    inside = getattr(result, "hypothesis", result)
    return str(getattr(inside, "class_id", getattr(inside, "id", ""))).strip()


def _upright(box: Any) -> tuple[float, float, float, float]:
    centre = getattr(box.center, "position", box.center)
    turn, x, y = float(box.center.theta), float(centre.x), float(centre.y)
    across, down = abs(math.cos(turn)), abs(math.sin(turn))
    half_x = (box.size_x * across + box.size_y * down) / 2
    half_y = (box.size_x * down + box.size_y * across) / 2
    return x - half_x, y - half_y, x + half_x, y + half_y
