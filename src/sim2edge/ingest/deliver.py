"""Deliver a folder of logs into the inbox, after reading every log as the stage will: bad logs are not uploaded.

Datasets of other projects are converted to logs before (`datasets/`).

Only regular files whose names end like a log's are taken, and the metadata of ROS 2 bags; a symbolic link refuses the
folder, as its target may be elsewhere.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.inbox import LOG_SUFFIXES, MAX_FILES, PICTURE_SUFFIXES, check_path, check_size, deliver, describe
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.log_files import choose_files
from sim2edge.manifest import check_partition
from sim2edge.stage import Progress

TUB_PICTURE = re.compile(r"\d+_cam_image_array_\.jpg")
"""Name of a picture in a tub of donkeycar."""


def deliver_folder(bus: Bus, batch: str, folder: Path, config: IngestConfig, progress: Progress) -> None:
    """Check the logs of a folder and upload them into the inbox as a batch.

    Raises:
        BadInput: the folder has no logs, a name or a size is not allowed, or a log is bad.
    """
    from sim2edge.ingest.datasets.convert import as_logs

    check_partition(batch)
    if not folder.is_dir():
        raise BadInput(f"{folder}: not a folder")
    with as_logs(folder, config, progress) as logs:
        _deliver_logs(bus, batch, logs, config, progress)


def _deliver_logs(bus: Bus, batch: str, folder: Path, config: IngestConfig, progress: Progress) -> None:
    files, left_out = find_logs(folder, config)
    if left_out:
        progress.log(f"not logs, left out: {', '.join(left_out)}")
    from sim2edge.ingest.batch import go_through
    from sim2edge.ingest.other_batches import read_others, refuse_repeated
    from sim2edge.ingest.sqlite_bag import JOURNAL

    sources = [describe(folder, path) for path in files]
    found = go_through(batch, folder, sources, config, progress, output=None)
    refuse_repeated(found.fingerprints, read_others(bus, batch))
    for log in found.logs:  # the stage does not see a journal, which is no part of the delivery
        if log.salvaged and JOURNAL in log.salvaged.reason:
            progress.log(f"{log.file}: {log.salvaged.reason}: {log.salvaged.messages} messages are taken")
    ready = deliver(bus, batch, folder, sources)
    progress.log(f"delivered to inbox/{batch}", files=len(files), ready=ready[:12])


def find_logs(folder: Path, config: IngestConfig) -> tuple[list[str], list[str]]:
    """Return the sorted relative paths below a folder: those of the logs, and those of the other files.

    Raises:
        BadInput: it is not a folder, has no logs or too many, or has one that is not allowed.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: not a folder")
    found = sorted(_walk(folder))
    logs, others = choose_files(found)
    if not logs:
        kinds = ", ".join(LOG_SUFFIXES)
        raise BadInput(f"{folder}: has no logs ({kinds})" + (f", but {others[0]!r}{hint(others)}" if others else ""))
    if len(logs) > MAX_FILES:
        raise BadInput(f"{folder}: {len(logs)} logs, a batch has at most {MAX_FILES}")
    for path in logs:
        check_size(check_path(path), (folder / path).stat().st_size, config)
    return logs, others


def hint(paths: Sequence[str]) -> str:
    """Return what a folder without logs may be, and what to do; empty: nothing is known."""
    names = [PurePosixPath(path).name for path in paths]
    if any(name.endswith(".catalog") or TUB_PICTURE.fullmatch(name) for name in names):
        if "manifest.json" not in names:
            return ": looks like a tub of donkeycar without its manifest.json: copy the whole tub"
        return ""
    pictures = any(name.lower().endswith(PICTURE_SUFFIXES) for name in names)
    if pictures and any(name.endswith(".json") for name in names):
        return ": pictures with COCO annotations are for `sim2edge annotate`"
    return ""


def _walk(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            path = Path(parent, name)
            if path.is_symlink():
                raise BadInput(f"{str(path.relative_to(folder))!r}: a symbolic link: put the file itself there")
        for name in names:
            path = Path(parent, name)
            if not path.is_file():
                raise BadInput(f"{str(path.relative_to(folder))!r}: not a plain file")
            yield path.relative_to(folder).as_posix()


def _raise(error: OSError) -> None:
    raise error
