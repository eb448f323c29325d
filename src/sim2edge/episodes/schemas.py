"""The schemas of the JSON messages of `simulation.mcap`."""

from typing import Any

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
LABELS_SCHEMA = _record(
    "sim2edge.Labels",
    floor={"type": "string"},
    floor_under={"type": "string"},
    boxes={"type": "array", "items": {"type": "object", "properties": _BOX}},
    free_m=_VECTOR,
)
