"""Group the files of a delivery into logs: a file is a log, but the files of a ROS 2 bag's folder are one.

    for log in group_logs(files):
        read_log(folder / log.path, limits)

Only names are looked at, so that a listing in the inbox and a folder give the same logs.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sim2edge.inbox import BAG_METADATA, LOG_SUFFIXES
from sim2edge.manifest import File

BAG_SUFFIXES = tuple(suffix for suffix in LOG_SUFFIXES if suffix != ".bag")
"""Endings of the files of a ROS 2 bag."""


@dataclass(frozen=True)
class LogFiles:
    """A log of a delivery."""

    source: File
    """Name, size and digest of the log: those of its file; a bag's are of its folder and all of its files."""
    path: str
    """The file, or the folder of a bag, relative to the delivery."""


def is_log(path: str) -> bool:
    """Return whether a file is a log by its name."""
    return path.endswith(LOG_SUFFIXES)


def choose_files(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the files that are delivered (logs, and the metadata of bags), and the others."""
    bags = {_folder(path) for path in paths if path.endswith(BAG_SUFFIXES)}
    chosen = [path for path in paths if is_log(path) or (_is_metadata(path) and _folder(path) in bags)]
    return chosen, sorted(set(paths) - set(chosen))


def group_logs(files: Sequence[File]) -> list[LogFiles]:
    """Return the logs, sorted by name."""
    bags = {_folder(file.path) for file in files if _is_metadata(file.path)}
    parts: dict[str, list[File]] = {}
    alone = []
    for file in sorted(files, key=lambda file: file.path):
        folder = _folder(file.path)
        if folder in bags and (file.path.endswith(BAG_SUFFIXES) or _is_metadata(file.path)):
            parts.setdefault(folder, []).append(file)
        elif is_log(file.path):
            alone.append(LogFiles(file, file.path))
    together = [_bag(folder, members) for folder, members in parts.items() if len(members) > 1]
    return sorted([*alone, *together], key=lambda log: log.source.path)


def _bag(folder: str, files: Sequence[File]) -> LogFiles:
    first = next(file.path for file in files if not _is_metadata(file.path))
    listing = "".join(f"{file.sha256} {PurePosixPath(file.path).name}\n" for file in files)
    digest = hashlib.sha256(listing.encode()).hexdigest()
    name = first if folder == "." else folder
    return LogFiles(File(path=name, bytes=sum(file.bytes for file in files), sha256=digest), folder)


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _is_metadata(path: str) -> bool:
    return PurePosixPath(path).name == BAG_METADATA
