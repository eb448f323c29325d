"""Find the box around a segmentation: polygons, or a run-length encoded mask."""

from typing import Any

import numpy as np
from pycocotools import mask


def box_of_segmentation(segmentation: Any) -> list[float] | None:
    """Return [x, y, width, height] in pixels; None if there is no valid segmentation."""
    if isinstance(segmentation, dict):
        return _box_of_mask(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    try:
        values = np.array([value for polygon in polygons for value in polygon], np.float64)
    except (TypeError, ValueError):
        return None
    if len(values) < 6 or any(len(polygon) % 2 for polygon in polygons) or not np.isfinite(values).all():
        return None
    x, y = values[0::2], values[1::2]
    return [float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y))]


def _box_of_mask(encoded: dict[str, Any]) -> list[float] | None:
    try:
        height, width = encoded["size"]
        if isinstance(encoded["counts"], list):
            encoded = mask.frPyObjects(encoded, height, width)
        return [float(value) for value in mask.toBbox(encoded)]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
