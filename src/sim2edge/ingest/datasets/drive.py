"""Define a drive read from a dataset, and write it as an MCAP log whose topics ingest reads.

The same drive gives the same bytes, so that a dataset delivered twice is the same delivery.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from foxglove import channels
from numpy.typing import NDArray

from sim2edge.episodes import foxglove_messages as messages
from sim2edge.episodes.formats import CONTROL_SCHEMA
from sim2edge.episodes.mcap_file import McapFile, json_channel
from sim2edge.episodes.moment import Command, Pose
from sim2edge.ingest.config import TopicsConfig
from sim2edge.ingest.session import METADATA

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moment:
    """One frame of a dataset."""

    time_ns: int
    image: bytes
    """JPEG or PNG."""
    command: Command
    pose: Pose | None = None
    ranges: Floats | None = None
    """Metres, infinite for no return; the angles are those of `Drive.span`."""


@dataclass(frozen=True)
class Drive:
    """An uninterrupted drive; reading `moments` raises `BadLog` at damaged data."""

    name: str
    """Relative path of its log, without suffix; valid in the inbox."""
    origin: Mapping[str, object]
    """Where it comes from: format, number of the episode, source files with their SHA-256."""
    moments: Iterator[Moment]
    span: tuple[float, float] = (0.0, 0.0)
    """Angles of the first and the last beam, radians."""


class DriveLog(McapFile):
    """Writes the log of a drive; has to be closed."""

    def __init__(self, path: Path, drive: Drive, topics: TopicsConfig) -> None:
        super().__init__(path, {name: _text(value) for name, value in drive.origin.items()}, METADATA)
        self._span = drive.span
        self._image = channels.CompressedImageChannel(topics.image[0], context=self.context)
        self._control = json_channel(topics.command[0], CONTROL_SCHEMA, self.context)
        self._pose = channels.PoseInFrameChannel(topics.pose[0], context=self.context)
        self._scan = channels.LaserScanChannel(topics.scan[0], context=self.context)

    def write(self, moment: Moment) -> None:
        """Log one moment.

        Raises:
            OSError: the disk is full.
        """
        self.check()
        time, stamp = moment.time_ns, messages.timestamp(moment.time_ns)
        encoding = "png" if moment.image.startswith(b"\x89PNG") else "jpeg"
        self._image.log(messages.picture(stamp, moment.image, encoding), log_time=time)
        self._control.log(moment.command._asdict() | {"stamp_ns": time}, log_time=time)
        if moment.pose is not None:
            self._pose.log(messages.pose_in_frame(stamp, moment.pose, "room"), log_time=time)
        if moment.ranges is not None:
            self._scan.log(messages.laser_scan(stamp, moment.ranges, self._span), log_time=time)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def write_log(path: Path, drive: Drive, topics: TopicsConfig) -> int:
    """Write the log of a drive and return its number of moments.

    Raises:
        BadLog: the dataset is damaged at this drive.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    log, count = DriveLog(path, drive, topics), 0
    try:
        for moment in drive.moments:
            log.write(moment)
            count += 1
    finally:
        log.close()
    return count
