"""Select the frames that variants are compared on, and convert their images to a device camera's format."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from sim2edge.edge.camera_source import Image
from sim2edge.recipes.perception_frames import Frames


def spread(frames: Frames, limit: int) -> Frames:
    """Return at most `limit` frames, evenly spread over all of them."""
    if len(frames) <= limit:
        return frames
    chosen = np.linspace(0, len(frames) - 1, limit).astype(int)
    spans = [np.arange(frames.starts[n], frames.starts[n + 1]) for n in chosen]
    boxes = np.concatenate(spans)
    return replace(
        frames,
        images=frames.images[chosen],
        floors=frames.floors[chosen],
        starts=np.concatenate([[0], np.cumsum([len(span) for span in spans])]),
        boxes=frames.boxes[boxes],
        classes=frames.classes[boxes],
        distances_m=frames.distances_m[boxes],
        names=tuple(frames.names[n] for n in chosen),
    )


def camera_images(frames: Frames) -> Sequence[Image]:
    """Return the frames' images, converted to BGR."""
    return [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8) for image in frames.images]
