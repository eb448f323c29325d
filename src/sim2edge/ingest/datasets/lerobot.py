"""Read the episodes of a LeRobot dataset (format v3) as drives.

Episodes share files: `meta/episodes` says in which files an episode is, and from which second of its video. Images are
either in the data files (`image`: PNG or JPEG bytes) or in videos (`video`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sim2edge.episodes.jpeg import encode_jpeg
from sim2edge.episodes.moment import Pose
from sim2edge.errors import BadInput
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.datasets.actions import SIDEWAYS, choose
from sim2edge.ingest.datasets.drive import Drive, Floats, Moment
from sim2edge.ingest.datasets.lerobot_info import ACTION, INFO, Episode, choose_camera, read_episodes, read_info
from sim2edge.ingest.datasets.tables import read_json, read_table, sha256_of
from sim2edge.ingest.datasets.video import Video
from sim2edge.ingest.mcap_reader import BadLog

OURS = "meta/sim2edge.json"
"""Written by `sim2edge convert`: how our own LiDAR and poses are to be read."""
POSE, LIDAR = "observation.state", "observation.lidar"
MAX_EPISODE_S = 1e6
MIN_SIDEWAYS_M_S = 0.01
"""What is less is noise."""


class LeRobotDataset:
    """A dataset and the choices by which it is read."""

    def __init__(self, root: Path, config: IngestConfig) -> None:
        """Read the description of the dataset.

        Raises:
            BadInput: it is of another version, has no camera, or actions that are no commands.
            BadLog: a file is missing or damaged.
        """
        self._root, self._config = root, config
        self._info = read_info(root)
        self._camera = choose_camera(self._info, config.dataset.image)
        try:
            self._steering = choose(self._info.action_names, config.dataset, config.wheelbase_m)
        except BadInput as error:
            raise BadInput(f"{INFO}: {error}") from error
        ours = read_json(root, OURS) if (root / OURS).is_file() else None
        self._lidar: dict[str, Any] = (ours or {}).get("lidar", {})
        self._measured = [name for name in (POSE, LIDAR) if ours is not None and name in self._info.features]
        self._episodes = read_episodes(root, self._info, self._camera)
        self._data: tuple[str, pa.Table] | None = None
        self._video: tuple[str, Video] | None = None
        self._sideways = 0

    @property
    def kind(self) -> str:
        """The format, in words."""
        return f"LeRobot {self._info.version}"

    @property
    def names(self) -> list[str]:
        """The names of the drives."""
        return [f"episode_{episode.index:06d}" for episode in self._episodes]

    def remarks(self) -> list[str]:
        """Return what was left out of the drives read so far."""
        if not self._sideways:
            return []
        return [f"{self._sideways} frames drive sideways, which a command cannot say: only ahead and turn are taken"]

    def open(self, number: int) -> Drive:
        """Return an episode by its number in `names`.

        Raises:
            BadLog: a file of it is missing.
        """
        episode = self._episodes[number]
        files = [INFO, episode.data, *([episode.video] if episode.video else [])]
        origin = {
            "format": f"lerobot {self._info.version}",
            "robot": self._info.robot,
            "episode": str(episode.index),
            "camera": self._camera,
            "files": {path: sha256_of(self._root, path) for path in files},
        }
        return Drive(self.names[number], origin, self._moments(episode), tuple(self._lidar.get("span_rad", (0.0, 0.0))))

    def _moments(self, episode: Episode) -> Iterator[Moment]:
        rows = self._rows(episode)
        where = f"{episode.data}: episode {episode.index}"
        times, actions = _vectors(rows, "timestamp", where)[:, 0], _vectors(rows, ACTION, where)
        if actions.shape[1] < len(self._info.action_names):
            raise BadLog(f"{where}: {ACTION}: {actions.shape[1]} values, but {len(self._info.action_names)} names")
        strange = np.flatnonzero((times < 0) | (times > MAX_EPISODE_S) | (np.diff(times, prepend=-1.0) <= 0))
        if len(strange):
            raise BadLog(f"{where}: row {strange[0]}: timestamp: {times[strange[0]]:g} s: expected rising seconds")
        self._count_sideways(actions)
        poses = _vectors(rows, POSE, where) if POSE in self._measured else None
        scans = self._scans(rows, where) if LIDAR in self._measured else None
        images = self._video_images(episode, times) if episode.video else self._table_images(rows, where)
        for row, image in enumerate(images):
            yield Moment(
                round(float(times[row]) * 1e9),
                image,
                self._steering.command(actions[row].tolist(), f"{where}: row {row}"),
                None if poses is None else Pose(*poses[row].tolist()),
                None if scans is None else scans[row],
            )

    def _rows(self, episode: Episode) -> pa.Table:
        if self._data is None or self._data[0] != episode.data:
            columns = ["episode_index", "frame_index", "timestamp", ACTION]
            columns += [] if episode.video else [self._camera]
            columns += self._measured
            self._data = episode.data, read_table(self._root, episode.data, columns)
        table = self._data[1]
        rows = table.filter(pc.equal(table["episode_index"], episode.index)).sort_by("frame_index")
        numbers = rows["frame_index"].to_pylist()
        jump = next((at for at, (a, b) in enumerate(zip(numbers, range(episode.length), strict=False)) if a != b), None)
        where = f"{episode.data}: episode {episode.index}"
        if jump is not None:
            raise BadLog(f"{where}: row {jump}: frame_index is {numbers[jump]}: rows are missing or doubled")
        if len(numbers) != episode.length or not numbers:
            raise BadLog(f"{where}: {len(numbers)} rows, meta/episodes says {episode.length}")
        return rows

    def _count_sideways(self, actions: Floats) -> None:
        chosen = [number for number, name in enumerate(self._info.action_names) if name in SIDEWAYS]
        self._sideways += int((np.abs(actions[:, chosen]) > MIN_SIDEWAYS_M_S).any(axis=1).sum())

    def _scans(self, rows: pa.Table, where: str) -> Floats:
        scans = _vectors(rows, LIDAR, where)
        return np.where(scans >= np.float32(self._lidar.get("no_return_m", np.inf)), np.inf, scans)

    def _table_images(self, rows: pa.Table, where: str) -> Iterator[bytes]:
        for row, image in enumerate(rows[self._camera]):
            data = (image.as_py() or {}).get("bytes")
            if not data:
                raise BadLog(f"{where}: row {row}: {self._camera}: the image is not in the file")
            yield data

    def _video_images(self, episode: Episode, times: Floats) -> Iterator[bytes]:
        path = str(episode.video)
        try:
            if self._video is None or self._video[0] != path:
                self._video = path, Video(self._root / path)
            for time in times.tolist():
                image = self._video[1].frame_at(episode.video_from_s + time, 0.5 / self._info.fps)
                yield encode_jpeg(image, self._config.jpeg_quality)
        except BadLog as error:
            raise BadLog(f"{path}: episode {episode.index}: {error}") from error


def _vectors(rows: pa.Table, name: str, where: str) -> Floats:
    """Return a column of numbers or vectors as a matrix.

    Raises:
        BadLog: the vectors are of unequal length, or a value is not finite.
    """
    try:
        values = np.array(rows[name].to_pylist(), dtype=np.float64).reshape(rows.num_rows, -1)
    except (ValueError, TypeError) as error:
        raise BadLog(f"{where}: {name}: not vectors of one length") from error
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise BadLog(f"{where}: row {bad[0]}: {name}: not a finite number")
    return values
