"""`simulation.mcap`: what a tick sensed, commanded and truly was, as Foxglove messages.

All times are simulated and nothing is left to a thread's timing, so the same ticks give the same bytes.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import foxglove
import numpy as np
from foxglove import channels, messages
from foxglove.mcap import MCAPCompression, MCAPWriteOptions
from numpy.typing import NDArray

from sim2edge.capture.config import RATE_HZ
from sim2edge.capture.labels import Box
from sim2edge.capture.simulator import Command
from sim2edge.capture.specs import LIDAR_HEIGHT_M, Pose

TICK_NS = 1_000_000_000 // RATE_HZ
# More compression threads would make the chunks depend on their timing.
OPTIONS = MCAPWriteOptions(compression=MCAPCompression.Zstd, compression_threads=0, chunk_size=1 << 20)

_NUMBER = {"type": "number"}
CONTROL_SCHEMA = {
    "title": "sim2edge.Control",
    "type": "object",
    "properties": {"linear_m_s": _NUMBER, "angular_rad_s": _NUMBER},
}
LABELS_SCHEMA = {
    "title": "sim2edge.Labels",
    "type": "object",
    "properties": {
        "floor": {"type": "string"},
        "boxes": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"class": {"type": "string"}, "instance": {"type": "integer"}}
                | dict.fromkeys(("x_min", "y_min", "x_max", "y_max", "distance_m", "bearing_rad"), _NUMBER),
            },
        },
    },
}


@dataclass(frozen=True)
class Tick:
    """All that is logged of one moment."""

    index: int
    jpeg: bytes
    ranges: NDArray[np.float64]
    pose: Pose
    command: Command
    """Chosen on what was sensed, in force until the next tick."""
    floor: str
    boxes: list[Box] | None
    """None: nobody labelled this moment, which is not the same as nothing to see."""

    @property
    def time_ns(self) -> int:
        """Simulated time since the start."""
        return self.index * TICK_NS


class McapLog:
    """Writes the MCAP of one episode; close it."""

    def __init__(self, path: Path, angles: NDArray[np.float64], metadata: dict[str, str]) -> None:
        # Kept, because channels close with their context.
        self._context = context = foxglove.Context()
        self._file = _File(path)
        self._writer = foxglove.open_mcap(self._file, context=context, writer_options=OPTIONS)
        self._span = float(angles[0]), float(angles[-1])
        self._image = channels.CompressedImageChannel("/camera/image", context=context)
        self._annotations = channels.ImageAnnotationsChannel("/camera/annotations", context=context)
        self._scan = channels.LaserScanChannel("/lidar/scan", context=context)
        self._pose = channels.PoseInFrameChannel("/robot/pose", context=context)
        self._control = _json_channel("/robot/control", CONTROL_SCHEMA, context)
        self._labels = _json_channel("/labels", LABELS_SCHEMA, context)
        self._writer.write_metadata("episode", metadata)

    def write(self, tick: Tick) -> None:
        """Log one tick.

        Raises:
            OSError: an earlier tick could not be written; the disk is full, say.
        """
        self._file.check()
        time = tick.time_ns
        stamp = messages.Timestamp(time // 1_000_000_000, time % 1_000_000_000)
        image = messages.CompressedImage(timestamp=stamp, frame_id="camera", data=tick.jpeg, format="jpeg")
        self._image.log(image, log_time=time)
        if tick.boxes is not None:
            self._annotations.log(_annotations(stamp, tick.boxes), log_time=time)
        self._scan.log(_laser_scan(stamp, tick.ranges, self._span), log_time=time)
        self._pose.log(_pose_in_frame(stamp, tick.pose), log_time=time)
        self._control.log(dict(tick.command._asdict()), log_time=time)
        if tick.boxes is not None:
            boxes = [box.model_dump(by_alias=True) for box in tick.boxes]
            self._labels.log({"floor": tick.floor, "boxes": boxes}, log_time=time)

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: not all of it could be written.
        """
        try:
            self._writer.close()
        finally:
            self._file.close()


class _File:
    """The file behind the writer, which would only print what goes wrong with a write: this keeps it, for `check`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._failure: OSError | None = None

    def write(self, data: bytes | bytearray) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self._failure = error
            return len(data)

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self._failure = error

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            self.check()


def _json_channel(topic: str, schema: dict[str, Any], context: foxglove.Context) -> foxglove.Channel:
    encoded = foxglove.Schema(name=schema["title"], encoding="jsonschema", data=json.dumps(schema).encode())
    return foxglove.Channel(topic, schema=encoded, message_encoding="json", context=context)


def _laser_scan(
    stamp: messages.Timestamp, ranges: NDArray[np.float64], span: tuple[float, float]
) -> messages.LaserScan:
    origin = messages.Pose(
        position=messages.Vector3(x=0, y=0, z=LIDAR_HEIGHT_M), orientation=messages.Quaternion(x=0, y=0, z=0, w=1)
    )
    return messages.LaserScan(
        timestamp=stamp,
        frame_id="robot",
        pose=origin,
        start_angle=span[0],
        end_angle=span[1],
        ranges=ranges.tolist(),
    )


def _pose_in_frame(stamp: messages.Timestamp, pose: Pose) -> messages.PoseInFrame:
    half = pose.yaw_rad / 2
    place = messages.Pose(
        position=messages.Vector3(x=pose.x_m, y=pose.y_m, z=0),
        orientation=messages.Quaternion(x=0, y=0, z=math.sin(half), w=math.cos(half)),
    )
    return messages.PoseInFrame(timestamp=stamp, frame_id="room", pose=place)


def _annotations(stamp: messages.Timestamp, boxes: list[Box]) -> messages.ImageAnnotations:
    return messages.ImageAnnotations(
        timestamp=stamp,
        points=[_outline(stamp, box) for box in boxes],
        texts=[_caption(stamp, box) for box in boxes],
    )


GREEN = messages.Color(r=0.2, g=1, b=0.2, a=1)


def _outline(stamp: messages.Timestamp, box: Box) -> messages.PointsAnnotation:
    corners = [(box.x_min, box.y_min), (box.x_max, box.y_min), (box.x_max, box.y_max), (box.x_min, box.y_max)]
    return messages.PointsAnnotation(
        timestamp=stamp,
        type=messages.PointsAnnotationType.LineLoop,
        points=[messages.Point2(x=x, y=y) for x, y in corners],
        outline_color=GREEN,
        thickness=1,
    )


def _caption(stamp: messages.Timestamp, box: Box) -> messages.TextAnnotation:
    return messages.TextAnnotation(
        timestamp=stamp,
        position=messages.Point2(x=box.x_min, y=box.y_min),
        text=f"{box.label} {box.distance_m:.1f} m",
        font_size=8,
        text_color=GREEN,
    )
