"""Assign a colour to each obstacle, so that Webots' segmentation image distinguishes instances.

Colours are far apart (6 levels a channel), so a value slightly changed by rendering is still decoded correctly; black
means no obstacle.
"""

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.simulator import NO_INSTANCE
from sim2edge.capture.specs import Vector

LEVELS = 6
STEP = 255 // (LEVELS - 1)
SLACK = 12
"""Tolerated error of a channel, of 255."""
MAX_STRANGE = 0.01
"""Tolerated share of coloured pixels with a colour of no obstacle: at edges, where drivers differ."""
MAX_INSTANCES = LEVELS**3 - 1


def instance_colour(instance: int) -> Vector:
    """Return the recognition colour of an obstacle, RGB 0..1.

    Raises:
        ValueError: there are more obstacles than colours.
    """
    if not 0 <= instance < MAX_INSTANCES:
        raise ValueError(f"instance {instance} has no colour: a world has at most {MAX_INSTANCES} obstacles")
    code = instance + 1
    red, green, blue = code // LEVELS**2, code // LEVELS % LEVELS, code % LEVELS
    return red * STEP / 255, green * STEP / 255, blue * STEP / 255


def read_instances(image: bytes, width: int, height: int, count: int) -> NDArray[np.int16]:
    """Return the instances (height, width) in a segmentation image (B, G, R, A) of a world with `count` obstacles.

    Raises:
        ValueError: too many pixels have a colour of no obstacle, so none can be trusted.
    """
    pixels = np.frombuffer(image, np.uint8).reshape(height, width, 4)[..., 2::-1].astype(np.int32)
    level = (pixels + STEP // 2) // STEP
    code = level @ np.array([LEVELS**2, LEVELS, 1])
    strange = (np.abs(pixels - level * STEP) > SLACK).any(axis=2) | (code > count)
    coloured = max(1, int((code > 0).sum()))
    if strange.sum() > max(8, MAX_STRANGE * coloured):
        example = pixels[strange][0].tolist()
        raise ValueError(
            f"the segmentation image has {strange.sum()} pixels of no obstacle's colour, {example} for one"
        )
    return np.where(strange, NO_INSTANCE, code - 1).astype(np.int16)
