"""Define the columns of `frames.parquet`, which clean writes and augment reads, as an Arrow schema.

Null stands for what a frame does not have: `lidar` without a scan, `linear_m_s` and `angular_rad_s` without a command,
`x_m`, `y_m` and `yaw_rad` without a pose, `distance_m` and `bearing_rad` of a box without them. A beam without a return
is inf, as before: it was measured.
"""

import pyarrow as pa

BOX_NUMBERS = ("x_min", "y_min", "x_max", "y_max", "distance_m", "bearing_rad")
"""The fields of a box besides its class; corners as fractions 0..1 of the image."""

BOX = pa.struct([("class", pa.string()), *((name, pa.float32()) for name in BOX_NUMBERS)])


ORIGIN = {"drive": pa.string(), "recorded_s": pa.float64()}
"""The drive that the episode is a piece of (null: it is one of its own), and when the frame was recorded (null: a
simulated drive, or a clock that shows no date), seconds since 1970. Files of earlier versions have neither."""

LIDAR = pa.list_(pa.float32())
"""The type of a scan. All have the same length; Arrow's lists of a fixed size cannot be null in Parquet."""


def frames_schema() -> pa.Schema:
    """Return the columns of `frames.parquet`."""
    numbers = ("linear_m_s", "angular_rad_s", "x_m", "y_m", "yaw_rad")
    return pa.schema(
        [
            ("episode_id", pa.string()),
            ("frame", pa.int32()),
            ("time_s", pa.float64()),
            ("image", pa.binary()),
            ("lidar", LIDAR),
            *((name, pa.float32()) for name in numbers),
            ("floor", pa.string()),
            ("boxes", pa.list_(BOX)),
            *ORIGIN.items(),
        ]
    )
