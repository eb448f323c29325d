"""Describe a Parquet file of frames in its own metadata: classes, image size, beam angles, units.

    schema = describe(frames_schema(360), height=96, width=128, scan=scan)      the writer
    json.loads(pq.read_schema(path).metadata[b"sim2edge"])                      any reader of Parquet

It is the key `sim2edge` of the file's key-value metadata, so a reader needs neither this package nor another file.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sim2edge.errors import BadInput
from sim2edge.frames.episode import Scan
from sim2edge.recipes.perception import CLASSES, FLOORS

KEY = "sim2edge"
FORMAT = 1
"""Version of the columns and of this description."""

CORNER = "fraction of the image, 0..1, from its {} edge"
UNITS = {
    "time_s": "s",
    "recorded_s": "s since 1970-01-01 UTC",
    "lidar": "m",
    "linear_m_s": "m/s",
    "angular_rad_s": "rad/s",
    "x_m": "m",
    "y_m": "m",
    "yaw_rad": "rad",
    "boxes.x_min": CORNER.format("left"),
    "boxes.y_min": CORNER.format("upper"),
    "boxes.x_max": CORNER.format("left"),
    "boxes.y_max": CORNER.format("upper"),
    "boxes.distance_m": "m",
    "boxes.bearing_rad": "rad, positive to the left",
}
"""Column, or `boxes.` and a field of a box, to its unit."""


def describe(schema: pa.Schema, height: int, width: int, scan: Scan | None) -> pa.Schema:
    """Return the schema with the description of a file: images of `height` x `width` pixels, scans of `scan`."""
    beams = {"beams": scan.beams, "start_rad": scan.start_rad, "step_rad": scan.step_rad} if scan else None
    content: dict[str, Any] = {
        "format": FORMAT,
        "classes": list(CLASSES),
        "floors": list(FLOORS),
        "image": {"height": height, "width": width, "encoding": "jpeg", "channels": "rgb"},
        "lidar": beams,
        "units": {name: unit for name, unit in UNITS.items() if name.partition(".")[0] in schema.names},
    }
    return schema.with_metadata({KEY: json.dumps(content)})


def read_size(path: Path) -> tuple[int, int]:
    """Return height and width, pixels, of the images in a file.

    Raises:
        BadInput: the file has no description, as those of clean and augment before version 3.
    """
    found = (pq.read_schema(path).metadata or {}).get(KEY.encode())
    if found is None:
        raise BadInput(f"{path.name}: does not describe itself: make it again with this version")
    image = json.loads(found)["image"]
    return image["height"], image["width"]
