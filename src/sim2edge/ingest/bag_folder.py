"""Find the files of a ROS 2 bag in its folder, by its `metadata.yaml`."""

from pathlib import Path, PureWindowsPath
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from sim2edge.inbox import BAG_METADATA
from sim2edge.ingest.bad_log import BadLog
from sim2edge.ingest.log_files import BAG_SUFFIXES
from sim2edge.lines import first_problem, quote

KEY = "rosbag2_bagfile_information"
MAX_METADATA = 4 << 20
STORAGES = ("mcap", "sqlite3")


class Information(BaseModel):
    """The fields read from `rosbag2_bagfile_information`."""

    relative_file_paths: list[str] = Field(min_length=1, max_length=10_000)
    storage_identifier: str = ""
    compression_format: str | None = ""
    compression_mode: str | None = ""


def bag_files(folder: Path) -> list[Path]:
    """Return the files of a bag, in the order of recording.

    Raises:
        BadLog: the metadata is not that of a bag, or a file is missing, or one too many.
    """
    about = _read(folder / BAG_METADATA)
    if about.storage_identifier not in STORAGES:
        raise BadLog(f"{BAG_METADATA}: storage_identifier: {quote(about.storage_identifier)} is not mcap or sqlite3")
    if about.compression_mode and about.compression_mode.lower() != "none" and about.compression_format != "zstd":
        raise BadLog(f"{BAG_METADATA}: compression_format: {quote(about.compression_format or '')} is not zstd")
    names = [PureWindowsPath(path).name for path in about.relative_file_paths]  # splits at both kinds of slashes
    present = {path.name for path in folder.iterdir() if path.name.endswith(BAG_SUFFIXES)}
    if missing := next((name for name in names if name not in present), None):
        raise BadLog(f"{BAG_METADATA}: relative_file_paths: {quote(missing)} is not in the folder")
    if extra := min(present - set(names), default=None):
        raise BadLog(
            f"{quote(extra)} is beside {BAG_METADATA}, which does not list it: move it, or run `ros2 bag reindex`"
        )
    return [folder / name for name in dict.fromkeys(names)]


def _read(path: Path) -> Information:
    with path.open("rb") as file:
        text = file.read(MAX_METADATA + 1)
    if len(text) > MAX_METADATA:
        raise BadLog(f"{BAG_METADATA}: more than {MAX_METADATA} bytes")
    try:
        content: Any = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadLog(f"{BAG_METADATA}: not YAML") from error
    if not isinstance(content, dict) or KEY not in content:
        raise BadLog(f"{BAG_METADATA}: has no '{KEY}': not that of a ROS 2 bag: move it elsewhere")
    try:
        return Information.model_validate(content[KEY])
    except ValidationError as error:
        raise BadLog(f"{BAG_METADATA}: {first_problem(error, 'content')}") from error
