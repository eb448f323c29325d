"""Turn one episode's log into frames: pair each image with scan, pose, command and labels, and resize it.

    episode = process_episode(Task(folder, "demo-1.0007", config, scan))

Data that cannot become a frame is returned as quarantined, with its reason; bad data raises nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sim2edge.clean.config import CleanConfig
from sim2edge.clean.episode_log import CONTROL, IMAGE, LABELS, POSE, SCAN, Stream, Unreadable, read_log
from sim2edge.frames.episode import Defect, Episode, Quarantined, Scan, refuse_episode
from sim2edge.frames.picture import prepare_image, to_fraction
from sim2edge.frames.tables import measured_schema

NOUNS = {SCAN: "lidar", POSE: "pose", CONTROL: "command", LABELS: "labels"}
NO_PARTNER = -1
SAME_ANGLE_RAD = 1e-3


@dataclass(frozen=True)
class Task:
    """One episode to process."""

    folder: Path
    episode_id: str
    config: CleanConfig
    scan: Scan | None
    """The geometry that all scans must have; None: the batch has no scans."""
    absent: frozenset[str] = frozenset()
    """Topics that the episode declares absent: its frames have null in their columns."""
    drive: str | None = None
    """The drive that the episode declares itself a piece of."""
    recorded_from_s: float | None = None
    """When the first tick was recorded, seconds since 1970."""

    @property
    def log(self) -> Path:
        """The file of the episode's log."""
        return self.folder / "simulation.mcap"


class Message(BaseModel):
    """Base of the JSON messages: types are strict, unknown fields are ignored."""

    model_config = ConfigDict(strict=True)


M = TypeVar("M", bound=Message)


class Control(Message):
    """`/robot/control`."""

    linear_m_s: float
    angular_rad_s: float


class Box(Message):
    """One labelled object; corners in pixels of the captured image."""

    class_: str = Field(alias="class")
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    distance_m: float | None
    """Null, as the bearing: unknown, as in annotations of the image only."""
    bearing_rad: float | None


class Labels(Message):
    """`/labels`."""

    floor: str
    boxes: list[Box]


def process_episode(task: Task) -> Episode:
    """Read, pair and resize the frames of one episode, or quarantine it."""
    try:
        log = read_log(task.log, task.absent)
        check_clocks(log)
        return build_frames(task, log)
    except Unreadable as error:
        return refuse_episode(task.episode_id, f"unreadable: {error}")
    except AttributeError as error:  # a damaged schema can decode to messages without some fields
        return refuse_episode(task.episode_id, f"unreadable: a message lacks the field '{error.name or error}'")
    except Defect as error:
        return refuse_episode(task.episode_id, str(error))


def check_clocks(log: Mapping[str, Stream]) -> None:
    """Raise a `Defect` if the times of a topic do not rise with every message: pairing would be unreliable."""
    for topic in log:
        steps = np.diff(log[topic].times_ns)
        if (steps <= 0).any():
            index = int(np.argmax(steps <= 0))
            raise Defect(f"clock_jump: {topic} goes from message {index} to the next by {steps[index] / 1e9:+.3f} s")


def find_nearest(times: NDArray[np.int64], wanted: NDArray[np.int64], tolerance_ns: float) -> NDArray[np.int64]:
    """Return the index into the rising `times` nearest to each wanted time; -1 where none is within the tolerance."""
    after = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1))
    if len(times) == 1:
        after = np.zeros_like(after)
    before = np.maximum(after - 1, 0)
    nearest = np.where(wanted - times[before] <= times[after] - wanted, before, after)
    return np.where(np.abs(times[nearest] - wanted) <= tolerance_ns, nearest, NO_PARTNER)


def build_frames(task: Task, log: Mapping[str, Stream]) -> Episode:
    """Build a row of every image that has partners in all topics of the log, and quarantine the others."""
    times = log[IMAGE].times_ns
    tolerance_ns = task.config.tolerance_s * 1e9
    partners = {topic: find_nearest(log[topic].times_ns, times, tolerance_ns) for topic in NOUNS if topic in log}
    rows: list[dict[str, Any]] = []
    quarantined: list[Quarantined] = []
    for frame, time_ns in enumerate(times):
        chosen = {topic: int(indices[frame]) for topic, indices in partners.items()}
        try:
            row = build_row(task, log, frame, chosen)
        except Defect as defect:
            quarantined.append(Quarantined(task.episode_id, frame, str(defect)))
            continue
        time_s = float(time_ns) / 1e9
        recorded_s = None if task.recorded_from_s is None else task.recorded_from_s + time_s
        origin = {"drive": task.drive, "recorded_s": recorded_s}
        rows.append({"episode_id": task.episode_id, "frame": frame, "time_s": time_s, **row, **origin})
    table = pa.Table.from_pylist(rows, measured_schema()) if rows else None
    return Episode(task.episode_id, len(times), table, quarantined)


def build_row(task: Task, log: Mapping[str, Stream], frame: int, chosen: Mapping[str, int]) -> dict[str, Any]:
    """Return the columns of one frame; those of absent topics are left out.

    Raises:
        Defect: a partner is missing or malformed.
    """
    for topic, number in chosen.items():
        if number == NO_PARTNER:
            raise Defect(f"{NOUNS[topic]}_out_of_sync: none within {task.config.tolerance_s:g} s of the image")
    picture = prepare_image(log[IMAGE].read(frame).data, task.config)
    labels = parse(Labels, log[LABELS].read(chosen[LABELS]), "labels")
    return {
        "image": picture.jpeg,
        **read_motion(task, log, chosen),
        "floor": labels.floor,
        "boxes": [scale_box(box, picture.captured, task.config.box_slack_px) for box in labels.boxes],
        "image_contrast": picture.contrast,
        "image_mean": picture.mean,
        "image_square": picture.square,
    }


def read_motion(task: Task, log: Mapping[str, Stream], chosen: Mapping[str, int]) -> dict[str, Any]:
    """Return the columns of scan, command and pose, as far as the log has their topics.

    Raises:
        Defect: one is malformed.
    """
    found: dict[str, Any] = {}
    if SCAN in chosen:
        found["lidar"] = read_ranges(log[SCAN].read(chosen[SCAN]), task.scan)
    if CONTROL in chosen:
        found |= parse(Control, log[CONTROL].read(chosen[CONTROL]), "command").model_dump()
    if POSE in chosen:
        found |= read_pose(log[POSE].read(chosen[POSE]))
    return found


def parse(model: type[M], data: bytes, noun: str) -> M:
    """Parse a JSON message; raise a `Defect` for a wrong or missing field."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "message"
        raise Defect(f"{noun}_wrong_type: {where}: {first['msg']}") from error


def scan_geometry(scan: Any) -> Scan:
    """Return the geometry of a `foxglove.LaserScan`.

    Its end angle is that of the last beam, or a full turn after that of the first.
    """
    beams, span = len(scan.ranges), scan.end_angle - scan.start_angle
    steps = beams if abs(span - math.tau) < SAME_ANGLE_RAD else beams - 1
    return Scan(beams, scan.start_angle, span / steps if steps else 0.0)


def read_ranges(scan: Any, expected: Scan | None) -> NDArray[np.float32]:
    """Return the ranges of a scan, metres; raise a `Defect` if its geometry is not the expected one."""
    found = scan_geometry(scan)
    if expected is None or found.beams != expected.beams:
        raise Defect(f"lidar_beams: {found.beams} beams, expected {expected.beams if expected else 'another number'}")
    last = abs(found.start_rad - expected.start_rad) + abs(found.step_rad - expected.step_rad) * expected.beams
    if not last < SAME_ANGLE_RAD:
        raise Defect(f"lidar_angles: from {found.start_rad:.4g} rad in steps of {found.step_rad:.4g} rad")
    return np.array(scan.ranges, dtype=np.float32)


def read_pose(message: Any) -> dict[str, float]:
    """Return position and heading of a `foxglove.PoseInFrame`; the heading is the yaw of its quaternion."""
    position, q = message.pose.position, message.pose.orientation
    yaw = math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))
    return {"x_m": position.x, "y_m": position.y, "yaw_rad": yaw}


def scale_box(box: Box, captured: tuple[int, int], slack_px: float) -> dict[str, Any]:
    """Return a box with corners as fractions of the captured image, clipped to it if it exceeds it within the slack."""
    width, height = captured
    return {
        "class": box.class_,
        "x_min": to_fraction(box.x_min, width, slack_px),
        "y_min": to_fraction(box.y_min, height, slack_px),
        "x_max": to_fraction(box.x_max, width, slack_px),
        "y_max": to_fraction(box.y_max, height, slack_px),
        "distance_m": box.distance_m,
        "bearing_rad": box.bearing_rad,
    }
