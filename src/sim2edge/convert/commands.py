"""Convert a batch of episodes to a dataset of another project, in a new folder.

    sim2edge convert lab-1 out/ --to lerobot                    LeRobot v3: images, commands, poses, scans
    sim2edge convert lab-1 tub/ --to donkeycar                  a tub: images, throttle and angle
    sim2edge convert refs/batches/lab-1 tub/ --to donkeycar --full-speed 0.8 --full-turn 2.5

Labels are not taken: neither format has boxes. docs/datasets.md says what else is lost.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sim2edge.bus import Bus
from sim2edge.episodes.moment import Command
from sim2edge.errors import BadInput
from sim2edge.manifest import Manifest
from sim2edge.progress import PATIENCE_S, make_progress
from sim2edge.stage import Progress
from sim2edge.withdrawal import Withdrawn

if TYPE_CHECKING:
    from sim2edge.convert.episodes import Episode

WANTED = ("*/simulation.mcap", "*/result.json")


def main(argv: Sequence[str]) -> int:
    """Convert the batch; return the exit code.

    Raises:
        BadInput: there is no such batch, the folder exists, or an episode cannot be converted.
    """
    arguments = parser().parse_args(argv)
    bus = Bus.from_environment(PATIENCE_S)
    manifest = find_batch(bus, arguments.batch)
    scratch = tempfile.TemporaryDirectory(prefix="sim2edge-convert-")
    with new_folder(Path(arguments.folder)) as folder, scratch as inputs, make_progress("convert") as progress:
        fetched = bus.fetch(manifest, Path(inputs), WANTED).folder
        convert(manifest, fetched, folder, arguments, progress)
    return 0


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("batch", help="a batch, or a reference, ref or id of episodes")
    top.add_argument("folder", help="the folder to write, which must not exist")
    top.add_argument("--to", choices=("lerobot", "donkeycar"), required=True, help="the format")
    top.add_argument("--only-successful", action="store_true", help="leave out episodes that failed, or have no labels")
    top.add_argument("--full-speed", type=_positive, metavar="M_S", help="throttle 1 of a tub (default: the fastest)")
    top.add_argument("--full-turn", type=_positive, metavar="RAD_S", help="angle 1 of a tub (default: the sharpest)")
    return top


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not above 0")
    return value


def find_batch(bus: Bus, name: str) -> Manifest:
    """Return the episodes that a name denotes.

    Raises:
        BadInput: it denotes none, or a batch that is withdrawn.
    """
    ref = None if "/" in name else bus.read_ref(f"refs/batches/{name}")
    manifest = bus.open(ref.target if ref else bus.resolve(name))
    if manifest.kind != "episodes":
        raise BadInput(f"{manifest.reference}: {manifest.kind}, not a batch of episodes")
    Withdrawn(bus).check_batch("convert", manifest.partition)
    return manifest


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder that becomes `path` at the end; after an error nothing is left.

    Raises:
        BadInput: `path` exists, or its parent does not.
    """
    if path.exists() or path.is_symlink():
        raise BadInput(f"{path}: exists: name a new folder")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"{path}: the folder {path.absolute().parent} does not exist")
    made = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.absolute().parent))
    try:
        made.chmod(0o755)
        yield made
        made.rename(path)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


class Writer(Protocol):
    """Writes the dataset of another project."""

    def write(self, episodes: Sequence["Episode"]) -> Iterator[int]:
        """Write the episodes, and yield their number so far; raises `BadInput` if one cannot be converted."""

    def remarks(self, episodes: Sequence["Episode"]) -> list[str]:
        """Return what was lost or chosen."""


def convert(manifest: Manifest, fetched: Path, folder: Path, arguments: argparse.Namespace, progress: Progress) -> None:
    """Write the episodes of a fetched batch into `folder`.

    Raises:
        BadInput: one cannot be converted.
    """
    from sim2edge.convert.donkeycar import TubWriter, find_scale
    from sim2edge.convert.episodes import list_episodes
    from sim2edge.convert.lerobot import LeRobotWriter

    episodes = list_episodes(fetched, arguments.only_successful)
    writer: Writer
    if arguments.to == "donkeycar":
        found = find_scale(episodes)
        scale = Command(arguments.full_speed or found.linear_m_s, arguments.full_turn or found.angular_rad_s)
        writer = TubWriter(folder, manifest, scale)
    else:
        writer = LeRobotWriter(folder, manifest)
    for done in writer.write(episodes):
        progress.update(done, len(episodes))
    for remark in writer.remarks(episodes):
        progress.log(remark)
    failed = sum(not episode.result["success"] for episode in episodes)
    note = f", {failed} of them not successful" if failed else ""
    progress.log(f"{arguments.folder}: {len(episodes)} episodes{note} as {arguments.to}; labels are not taken")
