"""Make the folders of a home, whatever is in their place: a file, a link, a folder of another user.

make_home(home)
make_folder(home / "slots", keep=True)      # its content is copied, if another user's folder has to give way
tidy(home, home / "slots")                  # what had to be moved aside and can be removed by now
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sim2edge.edge.storage.durable import flush_folder, remove_any
from sim2edge.edge.storage.rights import ASIDE, claim, is_usable, name_aside

MAX_DEPTH = 2
MAX_KEPT_BYTES = 512 * 2**20
"""Largest file that is copied."""


def make_home(home: Path) -> None:
    """Make the home folder, or make it usable again; it is never moved.

    Raises:
        OSError: it cannot be; the error names it.
    """
    if not home.is_dir():
        home.mkdir(mode=0o700, parents=True)
    claim(home)
    if not is_usable(home):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(home))


def make_folder(path: Path, keep: bool = False) -> None:
    """Make a folder that only its owner may use, in the place of whatever else is there.

    Args:
        path: the folder; one of this user gets its rights back, one that it may not use is moved aside.
        keep: copy what can be read from a folder that is moved aside.

    Raises:
        OSError: it cannot be made; what is there stays.
    """
    claim(path)
    is_folder = path.is_dir() and not path.is_symlink()
    if is_folder and is_usable(path):
        return
    if is_folder and keep:
        _replace(path)
    else:
        remove_any(path)
        path.mkdir(mode=0o700, parents=True)


def tidy(*folders: Path) -> None:
    """Remove what was moved aside, as far as it can be."""
    for folder in folders:
        with suppress(OSError):
            for path in folder.glob(f"{ASIDE}*"):
                remove_any(path)


def _replace(path: Path) -> None:
    """Put a copy of what can be read of a folder in its place; it gives way only when the copy is complete.

    Whether that can be is seen before anything is written: it is tried at each contact.
    """
    files = list(_files(path, MAX_DEPTH))
    if sum(file.stat().st_size for file in files) > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    aside, copy = name_aside(path), path.with_name(f"{ASIDE}new")
    remove_any(copy)
    try:
        copy.mkdir(mode=0o700)
        for file in files:
            _copy(file, copy / file.relative_to(path))
        path.rename(aside)
    except OSError:
        remove_any(copy)
        raise
    copy.rename(path)
    flush_folder(path.parent)


def _files(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the files in a folder that can be read; leave out links, and what is too large or deep."""
    with suppress(PermissionError):
        for path in sorted(folder.iterdir()):
            if path.is_symlink() or not os.access(path, os.R_OK):
                continue
            if path.is_dir() and depth:
                yield from _files(path, depth - 1)
            elif path.is_file() and path.stat().st_size <= MAX_KEPT_BYTES:
                yield path


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    flush_folder(target.parent)
