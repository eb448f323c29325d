"""Write `simulation.mcap` of a drive logged by others: the topics of capture's logs, as far as they are known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from foxglove import channels
from numpy.typing import NDArray

from sim2edge.episodes import foxglove_messages as messages
from sim2edge.episodes.formats import CONTROL_SCHEMA, OUTSIDE_LABELS_SCHEMA
from sim2edge.episodes.mcap_file import McapFile, json_channel
from sim2edge.episodes.moment import TICK_NS, Command, ImageBox, Pose


@dataclass(frozen=True)
class OutsideTick:
    """The known data of one tick."""

    index: int
    jpeg: bytes
    ranges: NDArray[np.float64] | None
    """Metres; inf where there was no return. None, as for the others below: the log has no such topic."""
    pose: Pose | None
    command: Command | None
    floor: str
    boxes: tuple[ImageBox, ...] | None
    """None: this tick has no labels, which differs from labels without boxes."""

    @property
    def time_ns(self) -> int:
        """Time since the start of the tick grid, nanoseconds."""
        return self.index * TICK_NS


class OutsideLog(McapFile):
    """Writes the ticks; has to be closed."""

    def __init__(self, path: Path, angles: NDArray[np.float64], metadata: dict[str, str]) -> None:
        super().__init__(path, metadata)
        self._span = float(angles[0]), float(angles[-1])
        self._image = channels.CompressedImageChannel("/camera/image", context=self.context)
        self._annotations = channels.ImageAnnotationsChannel("/camera/annotations", context=self.context)
        self._scan = channels.LaserScanChannel("/lidar/scan", context=self.context)
        self._pose = channels.PoseInFrameChannel("/robot/pose", context=self.context)
        self._control = json_channel("/robot/control", CONTROL_SCHEMA, self.context)
        self._labels = json_channel("/labels", OUTSIDE_LABELS_SCHEMA, self.context)

    def write(self, tick: OutsideTick) -> None:
        """Log one tick.

        Raises:
            OSError: an earlier tick could not be written, for example because the disk is full.
        """
        self.check()
        time = tick.time_ns
        stamp = messages.timestamp(time)
        self._image.log(messages.picture(stamp, tick.jpeg, "jpeg"), log_time=time)
        if tick.ranges is not None:
            self._scan.log(messages.laser_scan(stamp, tick.ranges, self._span), log_time=time)
        if tick.pose is not None:
            self._pose.log(messages.pose_in_frame(stamp, tick.pose, "room"), log_time=time)
        if tick.command is not None:
            self._control.log(dict(tick.command._asdict()), log_time=time)
        if tick.boxes is not None:
            self._annotations.log(messages.annotations(stamp, tick.boxes), log_time=time)
            boxes = [box.model_dump(by_alias=True, exclude_unset=True) for box in tick.boxes]
            self._labels.log({"floor": tick.floor, "boxes": boxes}, log_time=time)
