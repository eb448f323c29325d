"""Look at a disk after a power cut, as the next start would find it: check it, take the device's home out, try it.

files = open_disk(image, folder)        # folder/device, folder/bad: after e2fsck replayed the journal
bad_writer_survived(files)              # False shows that the cut loses what was not flushed
holds_whole(files / "device", releases)
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

REPAIRED = 1
"""Highest exit code of e2fsck for a file system that can be used."""


def open_disk(image: Path, folder: Path) -> Path:
    """Repair the file system as at a start, copy its files to `folder`, and return that.

    Raises:
        RuntimeError: the file system is beyond repair.
    """
    checked = subprocess.run(["e2fsck", "-fy", image], capture_output=True, text=True, check=False)
    if checked.returncode > REPAIRED:
        raise RuntimeError(f"e2fsck: code {checked.returncode}: {checked.stdout[-500:]}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run(["debugfs", "-R", f"rdump / {folder}", image], capture_output=True, check=True)
    return folder


def bad_writer_survived(folder: Path) -> bool:
    """Return whether the file that is replaced without a flush is whole."""
    try:
        lines = (folder / "bad/file").read_bytes().split(b"\n")
    except OSError:
        return False
    return len(lines) == 4 and lines[0] == lines[2] and lines[0].isdigit() and len(lines[1]) == 8000


def whole_releases(home: Path, releases: Sequence[Mapping[str, bytes]]) -> int:
    """Return how many of the slots hold all files of one of some releases, bit for bit."""
    found = 0
    for slot in (home / "slots").glob("[ab]"):
        files = {path.name: path.read_bytes() for path in slot.iterdir() if path.is_file()}
        found += any(release.items() <= files.items() for release in releases)
    return found
