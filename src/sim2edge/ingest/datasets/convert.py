"""Find the datasets in a folder to deliver, and convert them to logs in a scratch folder."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from sim2edge.errors import BadInput
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.datasets.donkeycar import Tub
from sim2edge.ingest.datasets.drive import Drive, write_log
from sim2edge.ingest.datasets.lerobot import LeRobotDataset
from sim2edge.ingest.datasets.lerobot_info import INFO
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.stage import Progress

UNLABELLED = "has no boxes: its episodes can be replayed and searched, but are 'unlabelled' where a recipe needs labels"


class Dataset(Protocol):
    """A dataset of another project."""

    @property
    def kind(self) -> str:
        """The format, in words."""

    @property
    def names(self) -> list[str]:
        """The names of its drives."""

    def open(self, number: int) -> Drive:
        """Return a drive by its number in `names`; raises `BadLog` if it cannot be read."""

    def remarks(self) -> list[str]:
        """Return what was left out of the drives read so far."""


def is_lerobot(folder: Path) -> bool:
    """Return whether a folder is a LeRobot dataset, of any version."""
    return ((folder / INFO).is_file() and (folder / "data").is_dir()) or (folder / "meta" / "episodes").is_dir()


def is_tub(folder: Path) -> bool:
    """Return whether a folder is a tub, of any version; a manifest alone may be that of anything."""
    old = any(folder.glob("record_*.json"))
    return old or ((folder / "manifest.json").is_file() and any(folder.glob("catalog_*")))


def find_datasets(folder: Path) -> list[Path]:
    """Return the datasets that a folder is or contains, by path; not those inside of others."""
    found = []
    for parent, folders, _ in os.walk(folder):
        folders.sort()
        if is_lerobot(Path(parent)) or is_tub(Path(parent)):
            found.append(Path(parent))
            folders.clear()
    return found


@contextmanager
def as_logs(folder: Path, config: IngestConfig, progress: Progress) -> Iterator[Path]:
    """Give a folder with a log for each drive of the datasets; the folder itself if it has none.

    Raises:
        BadInput: a dataset cannot be read, or lies beside logs.
    """
    datasets = find_datasets(folder)
    if not datasets:
        yield folder
        return
    beside = next((path for path in folder.rglob("*.mcap") if path.is_file()), None)
    if beside is not None:
        where = datasets[0].relative_to(folder).as_posix()
        raise BadInput(f"{folder}: has the log '{beside.name}' and the dataset '{where}': ingest them one by one")
    scratch = os.environ.get("SIM2EDGE_SCRATCH") or None
    if scratch:
        Path(scratch).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="datasets-", dir=scratch) as made:
        _convert_all(folder, datasets, config, progress, Path(made))
        yield Path(made)


def _convert_all(
    folder: Path, datasets: Sequence[Path], config: IngestConfig, progress: Progress, output: Path
) -> None:
    bad: list[str] = []
    for root in datasets:
        where = "" if root == folder else root.relative_to(folder).as_posix()
        try:
            dataset = open_dataset(root, config)
        except (BadLog, BadInput) as error:
            raise BadInput(f"{root}: {error}") from error
        frames = _convert(dataset, root, where, config, progress, output, bad)
        progress.log(f"{root}: {dataset.kind}, {len(dataset.names)} drives, {frames} frames: {UNLABELLED}")
        for remark in dataset.remarks():
            progress.log(f"{root}: {remark}")
    if bad and (not config.skip_bad or not any(output.rglob("*.mcap"))):
        more = f"; {len(bad) - 1} more drives are bad" if len(bad) > 1 else ""
        raise BadInput(f"{bad[0]}{more}{'' if config.skip_bad else ' (skip_bad=true ingests the others)'}")
    for each in bad:
        progress.log(f"left out: {each}")


def _convert(
    dataset: Dataset, root: Path, where: str, config: IngestConfig, progress: Progress, output: Path, bad: list[str]
) -> int:
    """Write the log of each drive, add the errors of those that cannot be read to `bad`, and return the frames."""
    frames, names = 0, dataset.names
    for number, name in enumerate(names):
        path = output / where / f"{name}.mcap"
        try:
            frames += write_log(path, dataset.open(number), config.topics)
        except BadLog as error:
            path.unlink(missing_ok=True)
            bad.append(f"{root}: {error}")
        progress.update(number + 1, len(names), frames=frames, refused=len(bad))
    return frames


def open_dataset(root: Path, config: IngestConfig) -> Dataset:
    """Read the description of a dataset.

    Raises:
        BadInput: it is of an old version, or lacks what a drive needs.
        BadLog: a file is missing or damaged.
    """
    if is_lerobot(root):
        return LeRobotDataset(root, config)
    if not (root / "manifest.json").is_file():
        raise BadInput("a tub of donkeycar before version 4 (record_*.json): convert it with convert_to_tub_v2.py")
    return Tub(root, config)
