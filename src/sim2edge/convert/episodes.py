"""Read the episodes of a batch tick by tick, for other formats: image, command, pose and scan."""

import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zstandard
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from numpy.typing import NDArray

from sim2edge.episodes.moment import TICK_NS, Command, Pose
from sim2edge.errors import BadInput
from sim2edge.lines import join_lines

Floats = NDArray[np.float64]

IMAGE, SCAN, POSE, CONTROL = "/camera/image", "/lidar/scan", "/robot/pose", "/robot/control"
DAMAGE = (McapError, DecodeError, zstandard.ZstdError, struct.error, ValueError, LookupError, TypeError, EOFError)


@dataclass(frozen=True)
class Tick:
    """One tick of an episode; ticks are a tenth of a second apart."""

    index: int
    jpeg: bytes
    command: Command
    pose: Pose | None
    ranges: Floats | None
    """Metres, infinite for no return."""
    span: tuple[float, float]
    """Angles of the first and the last beam, radians."""


@dataclass(frozen=True)
class Episode:
    """The folder of an episode."""

    folder: Path

    @cached_property
    def result(self) -> dict[str, Any]:
        """The content of `result.json`.

        Raises:
            BadInput: it is missing or invalid.
        """
        try:
            found = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
            return {name: found[name] for name in ("episode_id", "success", "failure_reason")}
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise BadInput(f"{self.folder.name}: result.json: missing or invalid") from error

    @cached_property
    def topics(self) -> set[str]:
        """The topics with messages."""
        with self._reading(), self._log.open("rb") as file:
            summary = make_reader(file).get_summary()
            if summary is None or summary.statistics is None:
                raise ValueError("no summary")
            counts = summary.statistics.channel_message_counts
            return {channel.topic for channel in summary.channels.values() if counts.get(channel.id)}

    @property
    def _log(self) -> Path:
        return self.folder / "simulation.mcap"

    def _reading(self) -> "_Reading":
        return _Reading(self._log)

    def ticks(self) -> Iterator[Tick]:
        """Yield the ticks; other messages are those nearest in time to their image.

        Raises:
            BadInput: the log is missing, damaged, or has no images or commands.
        """
        missing = next((topic for topic in (IMAGE, CONTROL) if topic not in self.topics), None)
        if missing:
            raise BadInput(f"{self._log.parent.name}/simulation.mcap: no messages on {missing}")
        with self._reading():
            times, values = self._messages()
            chosen = {topic: _nearest(times[topic], times[IMAGE]) for topic in times}
            for number, time_ns in enumerate(times[IMAGE].tolist()):
                at = {topic: values[topic][found[number]] for topic, found in chosen.items()}
                scan, pose = at.get(SCAN), at.get(POSE)
                yield Tick(
                    round(time_ns / TICK_NS),
                    at[IMAGE].data,
                    Command(float(at[CONTROL]["linear_m_s"]), float(at[CONTROL]["angular_rad_s"])),
                    None if pose is None else _pose(pose),
                    None if scan is None else np.array(scan.ranges, dtype=np.float64),
                    (0.0, 0.0) if scan is None else (scan.start_angle, scan.end_angle),
                )

    def _messages(self) -> tuple[dict[str, NDArray[np.int64]], dict[str, list[Any]]]:
        times: dict[str, list[int]] = {}
        values: dict[str, list[Any]] = {}
        decoders = DecoderFactory()  # of this file: it remembers schemas by their number
        with self._log.open("rb") as file:
            reader = make_reader(file)
            for schema, channel, message in reader.iter_messages([IMAGE, SCAN, POSE, CONTROL]):
                decode = decoders.decoder_for(channel.message_encoding, schema) or json.loads
                times.setdefault(channel.topic, []).append(message.log_time)
                values.setdefault(channel.topic, []).append(decode(message.data))
        return {topic: np.array(each, dtype=np.int64) for topic, each in times.items()}, values

    def runs(self) -> Iterator[list[Tick]]:
        """Yield the ticks in runs without a gap: where clean or ingest dropped ticks, time goes on."""
        for _, run in groupby(enumerate(self.ticks()), key=lambda pair: pair[1].index - pair[0]):
            yield [tick for _, tick in run]


class _Reading:
    """Turns the errors of the libraries on a damaged log into one line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing is needed before."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, (*DAMAGE, FileNotFoundError)):
            name = f"{self._path.parent.name}/{self._path.name}"
            raise BadInput(f"{name}: missing, damaged or truncated: {join_lines(error, 160)}") from error


def _nearest(times: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of the nearest of the rising `times` to each wanted time."""
    after = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(wanted - times[before]) <= np.abs(times[after] - wanted), before, after)


def _pose(message: Any) -> Pose:
    place = message.pose
    yaw = 2 * math.atan2(place.orientation.z, place.orientation.w)  # of our own logs, which turn about z alone
    return Pose(place.position.x, place.position.y, yaw)


def pixels_of(jpeg: bytes) -> NDArray[np.uint8]:
    """Decode an image to RGB, height x width x 3.

    Raises:
        ValueError: it cannot be decoded.
    """
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("an image cannot be decoded")
    return np.asarray(bgr[..., ::-1], np.uint8)


def topics_of(episodes: Sequence[Episode]) -> tuple[set[str], set[str]]:
    """Return which of scans and poses all episodes have, and which only some have."""
    each = [episode.topics & {SCAN, POSE} for episode in episodes]
    everywhere = {topic for topic in (SCAN, POSE) if all(topic in topics for topics in each)}
    return everywhere, {topic for topics in each for topic in topics} - everywhere


def list_episodes(folder: Path, only_successful: bool) -> Sequence[Episode]:
    """Return the episodes of a fetched batch by id.

    Raises:
        BadInput: none is left.
    """
    found = [Episode(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    chosen = [each for each in found if each.result["success"] or not only_successful]
    if not chosen:
        raise BadInput(f"none of {len(found)} episodes succeeded: omit --only-successful to take them all")
    return chosen
