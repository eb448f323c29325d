"""Write episodes as a LeRobot dataset (format v3) with the images as JPEG, unchanged, in the data files.

LeRobot counts frames and knows no gaps: an episode with dropped ticks becomes several. A range without a return becomes
the largest range of the LiDAR, as policies cannot use infinite numbers; `meta/sim2edge.json` says which that is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sim2edge.convert.episodes import POSE, SCAN, Episode, Tick, pixels_of, topics_of
from sim2edge.convert.statistics import SAMPLE_EVERY, ImageStatistics, of_vectors
from sim2edge.episodes.moment import RATE_HZ
from sim2edge.errors import BadInput
from sim2edge.manifest import Manifest

VERSION = "v3.0"
CAMERA, STATE, LIDAR, ACTION = "observation.images.camera", "observation.state", "observation.lidar", "action"
TASK = "drive without touching obstacles"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
MAX_FILE_BYTES = 100 << 20
FILES_A_CHUNK = 1000
COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


class LeRobotWriter:
    """Writes a dataset into a new folder."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self._no_return_m = float(manifest.config["lidar"]["max_range_m"])
        self._features: dict[str, dict[str, Any]] = {}
        self._span = (0.0, 0.0)
        self._episodes: list[dict[str, Any]] = []
        self._sources: list[dict[str, Any]] = []
        self._vectors: dict[str, list[Any]] = {}
        self._images = ImageStatistics()
        self._rows = 0
        self._file = _DataFile(folder)

    def write(self, episodes: Sequence[Episode]) -> Iterator[int]:
        """Write the episodes, and yield their number so far.

        Raises:
            BadInput: images or scans differ in size, or an episode cannot be read.
        """
        kept, _ = topics_of(episodes)
        for number, episode in enumerate(episodes, 1):
            for run in episode.runs():
                self._write_run(episode, run, kept)
            yield number
        self._file.close()
        self._finish()

    def remarks(self, episodes: Sequence[Episode]) -> list[str]:
        """Return what the dataset does not say."""
        _, some = topics_of(episodes)
        found = [f"not in every episode, left out: {', '.join(sorted(some))}"] if some else []
        more = len(self._episodes) - len(episodes)
        return found + ([f"dropped ticks divide {len(episodes)} episodes into {len(self._episodes)}"] if more else [])

    def _write_run(self, episode: Episode, run: Sequence[Tick], kept: set[str]) -> None:
        self._describe(episode, run, kept)
        count, index = len(run), len(self._episodes)
        columns: dict[str, Any] = {ACTION: [list(tick.command) for tick in run]}
        if POSE in kept:
            columns[STATE] = [list(tick.pose or ()) for tick in run]
        if SCAN in kept:
            columns[LIDAR] = [
                np.minimum(tick.ranges, self._no_return_m).tolist() for tick in run if tick.ranges is not None
            ]
        columns["timestamp"] = [number / RATE_HZ for number in range(count)]
        columns["frame_index"], columns["episode_index"] = list(range(count)), [index] * count
        columns["index"], columns["task_index"] = list(range(self._rows, self._rows + count)), [0] * count
        for name, values in columns.items():
            self._vectors.setdefault(name, []).extend(values)
        for number, tick in enumerate(run):
            if (self._rows + number) % SAMPLE_EVERY == 0:
                self._images.add(_decode(episode, tick))
        images = [{"bytes": tick.jpeg, "path": f"frame-{number:06d}.jpg"} for number, tick in enumerate(run)]
        place = self._file.write({CAMERA: images, **columns}, self._features)
        self._episodes.append(
            {"episode_index": index, "tasks": [TASK], "length": count}
            | {"data/chunk_index": place[0], "data/file_index": place[1]}
            | {"dataset_from_index": self._rows, "dataset_to_index": self._rows + count}
            | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        )
        self._sources.append({"episode_index": index, "first_tick": run[0].index, **episode.result})
        self._rows += count

    def _describe(self, episode: Episode, run: Sequence[Tick], kept: set[str]) -> None:
        """Take the features from the first run, and check that the others have the same."""
        height, width, _ = _decode(episode, run[0]).shape
        found = {CAMERA: _feature("image", [height, width, 3], ["height", "width", "channels"])}
        if POSE in kept:
            found[STATE] = _feature("float32", [3], ["x_m", "y_m", "yaw_rad"])
        if SCAN in kept:
            beams = len(run[0].ranges if run[0].ranges is not None else ())
            found[LIDAR] = _feature("float32", [beams], [f"r{beam:03d}" for beam in range(beams)])
        found[ACTION] = _feature("float32", [2], ["linear_m_s", "angular_rad_s"])
        found |= {name: _feature("float32" if name == "timestamp" else "int64", [1], None) for name in COUNTERS}
        if not self._features:
            self._features, self._span = found, run[0].span
        for name, feature in found.items():
            if feature != self._features[name]:
                sizes = f"{feature['shape']}, before {self._features[name]['shape']}"
                raise BadInput(f"{episode.folder.name}: {name}: {sizes}: a LeRobot dataset has one size")

    def _finish(self) -> None:
        meta = self._folder / "meta"
        (meta / "episodes" / "chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._episodes), meta / "episodes" / "chunk-000" / "file-000.parquet")
        pq.write_table(_tasks(), meta / "tasks.parquet")
        stats = {name: of_vectors(rows) for name, rows in self._vectors.items()} | {CAMERA: self._images.result()}
        _write_json(meta / "stats.json", stats)
        _write_json(meta / "info.json", self._info())
        about: dict[str, Any] = {"made_from": self._manifest.reference, "episodes": self._sources}
        if LIDAR in self._features:
            about["lidar"] = {"span_rad": list(self._span), "no_return_m": self._no_return_m}
        _write_json(meta / "sim2edge.json", about)

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": VERSION,
            "robot_type": "sim2edge",
            "total_episodes": len(self._episodes),
            "total_frames": self._rows,
            "total_tasks": 1,
            "chunks_size": FILES_A_CHUNK,
            "data_files_size_in_mb": MAX_FILE_BYTES >> 20,
            "video_files_size_in_mb": 200,
            "fps": RATE_HZ,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": DATA_PATH,
            "video_path": None,
            "features": self._features,
        }


def _decode(episode: Episode, tick: Tick) -> NDArray[np.uint8]:
    try:
        return pixels_of(tick.jpeg)
    except ValueError as error:
        raise BadInput(f"{episode.folder.name}: tick {tick.index}: {error}") from error


class _DataFile:
    """Writes the data files one after the other, each up to a size."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: pq.ParquetWriter | None = None
        self._number, self._bytes = -1, 0

    def write(self, columns: Mapping[str, Any], features: Mapping[str, Mapping[str, Any]]) -> tuple[int, int]:
        """Write the rows of an episode, and return the numbers of chunk and file that have them."""
        schema = pa.schema([(name, _type(features[name])) for name in features])
        table = pa.table({name: columns[name] for name in features}, schema=schema)
        if self._writer is None or self._bytes + table.nbytes > MAX_FILE_BYTES:
            self.close()
            self._number, self._bytes = self._number + 1, 0
            path = self._folder / DATA_PATH.format(**dict(zip(("chunk_index", "file_index"), self._place, strict=True)))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, schema)
        self._writer.write_table(table)
        self._bytes += table.nbytes
        return self._place

    @property
    def _place(self) -> tuple[int, int]:
        return divmod(self._number, FILES_A_CHUNK)

    def close(self) -> None:
        """Finish the current file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _feature(dtype: str, shape: list[int], names: list[str] | None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "names": names}


def _type(feature: Mapping[str, Any]) -> pa.DataType:
    if feature["dtype"] == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    scalar = pa.float32() if feature["dtype"] == "float32" else pa.int64()
    return scalar if feature["names"] is None else pa.list_(scalar, feature["shape"][0])


def _tasks() -> pa.Table:
    """Return the table of tasks, whose texts LeRobot reads as the index of a pandas table."""
    index = "__index_level_0__"
    columns = [
        {"name": name, "field_name": field, "pandas_type": kind, "numpy_type": stored, "metadata": None}
        for name, field, kind, stored in (
            ("task_index", "task_index", "int64", "int64"),
            (None, index, "unicode", "object"),
        )
    ]
    about = {"index_columns": [index], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}
    table = pa.table({"task_index": pa.array([0], pa.int64()), index: [TASK]})
    return table.replace_schema_metadata({"pandas": json.dumps(about)})


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
