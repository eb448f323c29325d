"""Write `simulation.mcap` of a drive logged by others: the topics of capture's logs, as far as they are known."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from foxglove import channels
from foxglove.messages import Timestamp
from numpy.typing import NDArray

from sim2edge.episodes import foxglove_messages as messages
from sim2edge.episodes.formats import CONTROL_SCHEMA, OUTSIDE_LABELS_SCHEMA
from sim2edge.episodes.mcap_file import McapFile, json_channel
from sim2edge.episodes.moment import Command, ImageBox, Pose
from sim2edge.ingest.config import Role


@dataclass(frozen=True)
class OutsideTick:
    """The known data of one tick."""

    index: int
    times_ns: Mapping[Role, int]
    """Of the messages by role, since the episode's first message, nanoseconds."""
    jpeg: bytes
    ranges: NDArray[np.float64] | None
    """Metres; inf where there was no return. None, as for the others below: the log has no such topic."""
    pose: Pose | None
    command: Command | None
    floor: str
    boxes: tuple[ImageBox, ...] | None
    """None: this tick has no labels, which differs from labels without boxes."""


class OutsideLog(McapFile):
    """Writes the ticks, a message that serves several of them only once; has to be closed."""

    def __init__(self, path: Path, angles: NDArray[np.float64], metadata: dict[str, str]) -> None:
        super().__init__(path, metadata)
        self._span = float(angles[0]), float(angles[-1])
        self._image = channels.CompressedImageChannel("/camera/image", context=self.context)
        self._annotations = channels.ImageAnnotationsChannel("/camera/annotations", context=self.context)
        self._scan = channels.LaserScanChannel("/lidar/scan", context=self.context)
        self._pose = channels.PoseInFrameChannel("/robot/pose", context=self.context)
        self._control = json_channel("/robot/control", CONTROL_SCHEMA, self.context)
        self._written: dict[Role, int] = {}
        self._labels = json_channel("/labels", OUTSIDE_LABELS_SCHEMA, self.context)

    def write(self, tick: OutsideTick) -> None:
        """Log one tick.

        Raises:
            OSError: an earlier tick could not be written, for example because the disk is full.
        """
        self.check()
        if self._is_new("image", tick):
            time, stamp = self._time("image", tick)
            self._image.log(messages.picture(stamp, tick.jpeg, "jpeg"), log_time=time)
        if tick.ranges is not None and self._is_new("scan", tick):
            time, stamp = self._time("scan", tick)
            self._scan.log(messages.laser_scan(stamp, tick.ranges, self._span), log_time=time)
        if tick.pose is not None and self._is_new("pose", tick):
            time, stamp = self._time("pose", tick)
            self._pose.log(messages.pose_in_frame(stamp, tick.pose, "room"), log_time=time)
        if tick.command is not None and self._is_new("command", tick):
            self._control.log(dict(tick.command._asdict()), log_time=tick.times_ns["command"])
        if tick.boxes is not None and self._is_new("labels", tick):
            self._write_labels(tick.boxes, tick)

    def _write_labels(self, found: tuple[ImageBox, ...], tick: OutsideTick) -> None:
        time, stamp = self._time("labels", tick)
        self._annotations.log(messages.annotations(stamp, found), log_time=time)
        boxes = [box.model_dump(by_alias=True, exclude_unset=True) for box in found]
        self._labels.log({"floor": tick.floor, "boxes": boxes}, log_time=time)

    def _is_new(self, role: Role, tick: OutsideTick) -> bool:
        """Return whether the tick's message is later than the last written, and remember it."""
        is_new = tick.times_ns[role] > self._written.get(role, -1)
        self._written[role] = tick.times_ns[role]
        return is_new

    @staticmethod
    def _time(role: Role, tick: OutsideTick) -> tuple[int, Timestamp]:
        return tick.times_ns[role], messages.timestamp(tick.times_ns[role])
