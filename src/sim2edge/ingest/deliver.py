"""Deliver a folder of logs into the inbox, after reading every log as the stage will: bad logs are not uploaded.

Datasets of other projects are converted to logs before (`datasets/`).

Only regular files whose names end like a log's are taken, and the metadata of ROS 2 bags; a symbolic link refuses the
folder, as its target may be elsewhere.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.inbox import LOG_SUFFIXES, MAX_FILES, check_path, check_size, deliver, describe
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.log_files import choose_files
from sim2edge.manifest import check_partition
from sim2edge.stage import Progress


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

    sources = [describe(folder, path) for path in files]
    found = go_through(batch, folder, sources, config, progress, output=None)
    refuse_repeated(found.fingerprints, read_others(bus, batch))
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
        raise BadInput(f"{folder}: has no logs ({kinds})" + (f", but {others[0]!r}" if others else ""))
    if len(logs) > MAX_FILES:
        raise BadInput(f"{folder}: {len(logs)} logs, a batch has at most {MAX_FILES}")
    for path in logs:
        check_size(check_path(path), (folder / path).stat().st_size, config)
    return logs, others


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
