"""Define the table that workers return: the columns of `frames.parquet`, and measurements of each image."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sim2edge.frames.columns import frames_schema

MEASURED = ("image_contrast", "image_mean", "image_square")
"""Columns for the checks and statistics, left out of `frames.parquet`."""


def measured_schema(beams: int) -> pa.Schema:
    """Return the columns of `frames.parquet` and the measurements of images: contrast, mean and mean square (RGB)."""
    schema = frames_schema(beams).append(pa.field("image_contrast", pa.float32()))
    for name in ("image_mean", "image_square"):
        schema = schema.append(pa.field(name, pa.list_(pa.float64(), 3)))
    return schema


def lidar_matrix(table: pa.Table) -> NDArray[np.float32]:
    """Return the scans as float32 [rows, beams]."""
    column = table["lidar"].combine_chunks()
    return np.asarray(column.flatten().to_numpy().reshape(len(table), column.type.list_size), np.float32)
