"""Define the formats of an episode's files: the beams of `lidar.csv`, the JSON messages of `simulation.mcap`."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Scanner(Protocol):
    """The beams of a 2D LiDAR."""

    @property
    def beams(self) -> int:
        """Number of beams per scan."""

    @property
    def fov_deg(self) -> float:
        """Angle spanned by the beams, centred ahead, degrees."""


def beam_angles(config: Scanner) -> Floats:
    """Return the angle of each beam, radians, counter-clockwise from straight ahead, centred on it.

    A full turn does not repeat its first beam at the end.
    """
    span = np.radians(config.fov_deg)
    step = span / config.beams if config.fov_deg == 360 else span / max(1, config.beams - 1)
    angles: Floats = -span / 2 + step * np.arange(config.beams)
    return angles


def write_csv(path: Path, times: list[float], scans: list[Floats]) -> None:
    """Write `lidar.csv`: a row per scan, ranges to a tenth of a millimetre."""
    header = ",".join(["time_s", *(f"r{beam:03d}" for beam in range(len(scans[0]) if scans else 0))])
    rows = (f"{time:.3f}," + ",".join(f"{r:.4f}" for r in scan) for time, scan in zip(times, scans, strict=True))
    path.write_text("\n".join([header, *rows]) + "\n", encoding="ascii")


_NUMBER = {"type": "number"}
_VECTOR = {"type": "array", "items": _NUMBER}
_VECTORS = {"type": "array", "items": _VECTOR}


def _record(title: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "type": "object", "properties": properties}


CONTROL_SCHEMA = _record(
    "sim2edge.Control",
    linear_m_s=_NUMBER,
    angular_rad_s=_NUMBER,
    applied_linear_m_s=_NUMBER,
    applied_angular_rad_s=_NUMBER,
)
IMU_SCHEMA = _record("sim2edge.Imu", times_s=_VECTOR, angular_velocity_rad_s=_VECTORS, specific_force_m_s2=_VECTORS)
_BOX: dict[str, dict[str, Any]] = {"class": {"type": "string"}, "instance": {"type": "integer"}}
_BOX |= dict.fromkeys(("x_min", "y_min", "x_max", "y_max", "distance_m", "bearing_rad"), _NUMBER)
_BOX |= dict.fromkeys(("occlusion", "truncation", "yaw_rad"), _NUMBER) | {"position_m": _VECTOR, "size_m": _VECTOR}


def _labels(box: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return _record(
        "sim2edge.Labels",
        floor={"type": "string"},
        floor_under={"type": "string"},
        boxes={"type": "array", "items": {"type": "object", "properties": box}},
        free_m=_VECTOR,
    )


LABELS_SCHEMA = _labels(_BOX)
_UNKNOWN = {"type": ["number", "null"]}
OUTSIDE_LABELS_SCHEMA = _labels(_BOX | {"distance_m": _UNKNOWN, "bearing_rad": _UNKNOWN})
"""Labels made by others: distance and bearing may be unknown."""
