"""Define the table that workers return: the columns of `frames.parquet`, and measurements of each image."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sim2edge.frames.columns import frames_schema

MEASURED = ("image_contrast", "image_mean", "image_square")
"""Columns for the checks and statistics, left out of `frames.parquet`."""


def measured_schema() -> pa.Schema:
    """Return the columns of `frames.parquet` and the measurements of images: contrast, mean and mean square (RGB)."""
    schema = frames_schema().append(pa.field("image_contrast", pa.float32()))
    for name in ("image_mean", "image_square"):
        schema = schema.append(pa.field(name, pa.list_(pa.float64(), 3)))
    return schema


def lidar_matrix(table: pa.Table) -> NDArray[np.float32]:
    """Return the scans of the rows that have one as float32 [scans, beams]; `has_scan` says which rows have."""
    column = table["lidar"].combine_chunks()
    scans = len(column) - column.null_count
    return np.asarray(column.flatten().to_numpy().reshape(scans, -1 if scans else 0), np.float32)


def has_scan(table: pa.Table) -> NDArray[np.bool_]:
    """Return which rows have a scan, [rows]."""
    return np.asarray(table["lidar"].is_valid().to_numpy())
