"""Read the description of a LeRobot dataset (format v3): `meta/info.json` and `meta/episodes/`."""

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim2edge.errors import BadInput
from sim2edge.ingest.datasets.tables import read_json, read_table
from sim2edge.ingest.mcap_reader import BadLog

INFO = "meta/info.json"
VERSION = "v3."
ACTION = "action"


@dataclass(frozen=True)
class Episode:
    """A row of `meta/episodes`."""

    index: int
    length: int
    data: str
    """Path of the data file."""
    video: str | None
    """Path of the video file; None: the images are in the data file."""
    video_from_s: float


@dataclass(frozen=True)
class Info:
    """`meta/info.json`."""

    version: str
    robot: str
    fps: float
    features: Mapping[str, Mapping[str, Any]]
    paths: Mapping[str, Any]
    """Patterns of the paths of files: `data_path`, `video_path`."""

    @property
    def action_names(self) -> list[str]:
        """The names of the values of an action; their numbers, from 0, if they have none."""
        action = self.features[ACTION]
        shape = action.get("shape")
        count = shape[0] if isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int) else 0
        return list(_flatten(action.get("names"))) or [str(number) for number in range(count)]

    def is_video(self, camera: str) -> bool:
        """Return whether a camera's images are in videos."""
        return self.features[camera].get("dtype") == "video"


def read_info(root: Path) -> Info:
    """Read the description of a dataset.

    Raises:
        BadInput: it is of another version, or has no actions.
        BadLog: it is missing or damaged.
    """
    found = read_json(root, INFO)
    version = str(found.get("codebase_version", "missing"))
    if not version.startswith(VERSION):
        how = "convert it with lerobot's convert_dataset_v21_to_v30"
        raise BadInput(f"{INFO}: codebase_version: {version}, expected {VERSION}x: {how}")
    features = found.get("features")
    if not isinstance(features, dict) or not all(isinstance(each, dict) for each in features.values()):
        raise BadInput(f"{INFO}: features: not an object of objects")
    if ACTION not in features:
        raise BadInput(f"{INFO}: features: no '{ACTION}', but {', '.join(features) or 'none'}")
    try:
        fps = float(found.get("fps", 0))
    except (TypeError, ValueError):
        fps = 0.0
    if not 0 < fps < 1e6:
        raise BadInput(f"{INFO}: fps: {found.get('fps')!r}: expected frames a second")
    return Info(version, str(found.get("robot_type") or ""), fps, features, found)


def choose_camera(info: Info, wanted: str) -> str:
    """Return the camera to take: the wanted one or, if that is empty, the only one.

    Raises:
        BadInput: there is no such camera, or more than one.
    """
    cameras = [name for name, feature in info.features.items() if _is_camera(feature)]
    if wanted in cameras:
        return wanted
    if len(cameras) == 1 and not wanted:
        return cameras[0]
    problem = f"no camera '{wanted}'" if wanted else f"{len(cameras)} cameras"
    choice = f": name one of them with dataset.image=<name>: {', '.join(cameras)}" if cameras else ""
    raise BadInput(f"{INFO}: {problem}{choice}")


def _is_camera(feature: Mapping[str, Any]) -> bool:
    about = feature.get("info")
    about = about if isinstance(about, Mapping) else {}
    depth = about.get("video.is_depth_map") or about.get("is_depth_map")
    return feature.get("dtype") in ("image", "video") and not depth


def _flatten(names: Any) -> Iterator[str]:
    """Yield the names of a feature's values: a list, or a dict of lists."""
    if isinstance(names, str):
        yield names
    elif isinstance(names, Mapping | Sequence):
        for each in names.values() if isinstance(names, Mapping) else names:
            yield from _flatten(each)


def read_episodes(root: Path, info: Info, camera: str) -> list[Episode]:
    """Return the episodes by their index.

    Raises:
        BadLog: their table is missing or damaged.
    """
    paths = sorted(path.relative_to(root).as_posix() for path in root.glob("meta/episodes/*/*.parquet"))
    if not paths:
        raise BadLog("meta/episodes: has no Parquet files")
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    if info.is_video(camera):
        columns += [f"videos/{camera}/{each}" for each in ("chunk_index", "file_index", "from_timestamp")]
    found = []
    for path in paths:
        for number, row in enumerate(read_table(root, path, columns).to_pylist()):
            if any(value is None for value in row.values()):
                raise BadLog(f"{path}: row {number}: a value is missing")
            found.append(_episode(row, info, camera))
    return sorted(found, key=lambda episode: episode.index)


def _episode(row: Mapping[str, Any], info: Info, camera: str) -> Episode:
    data = _fill_in(info, "data_path", chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
    video, start = None, 0.0
    if info.is_video(camera):
        of = f"videos/{camera}/"
        numbers = {each: row[of + each] for each in ("chunk_index", "file_index")}
        video = _fill_in(info, "video_path", video_key=camera, **numbers)
        start = float(row[of + "from_timestamp"])
    return Episode(int(row["episode_index"]), int(row["length"]), data, video, start)


def _fill_in(info: Info, field: str, **values: object) -> str:
    """Fill in the pattern of a path, which has to stay inside of the dataset."""
    pattern = str(info.paths.get(field))
    try:
        path = string.Formatter().vformat(pattern, (), values)
    except (LookupError, ValueError, AttributeError) as error:
        raise BadLog(f"{INFO}: {field}: '{pattern}' cannot be filled in") from error
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise BadLog(f"{INFO}: {field}: '{pattern}' leads out of the dataset")
    return path
