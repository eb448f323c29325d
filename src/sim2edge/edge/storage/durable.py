"""Write files so that they survive a power cut, and read and replace what a failing card may have made of them.

    write_durably(home / "token", data)         # temporary file, fsync, rename, fsync of the folder
    point_link(home / "current", "slots/b")
    read_regular(home / "token", limit=1000)    # never hangs on a pipe, never fills the memory

A path may hold anything: a folder where a file belongs, or one that this user may not touch. It is replaced.
"""

import errno
import os
import shutil
import stat
from pathlib import Path

from sim2edge.edge.storage.rights import claim_tree, set_aside

SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR)
"""Errors that tell of this process or machine, not of what is on the disk."""


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace the content of `path` with `data` atomically: after a power cut it holds the old or the new content."""
    part = path.with_name(f".{path.name}.part")
    remove_any(part)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    move_over(part, path)
    flush_folder(path.parent)


def move_over(source: Path, target: Path) -> None:
    """Rename a file or link over `target`, whatever that is; flush the folder afterwards."""
    try:
        source.replace(target)
    except IsADirectoryError:
        remove_any(target)
        source.replace(target)


def point_link(link: Path, target: str) -> None:
    """Point the symbolic link `link` at `target` atomically."""
    if link.is_symlink() and str(link.readlink()) == target:
        return
    part = link.with_name(f".{link.name}.part")
    remove_any(part)
    part.symlink_to(target)
    move_over(part, link)
    flush_folder(link.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that renames and removals in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_any(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; do nothing if there is none.

    What this user has no right to remove is moved aside (`rights.py`): the path is free then.
    """
    try:
        _remove(path)
    except PermissionError:
        claim_tree(path)
        try:
            _remove(path)
        except PermissionError:
            set_aside(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        OSError: it is missing, unreadable, larger, or no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        if about.st_size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
        return file.read(limit)


def look_of(path: Path) -> object:
    """Return what a change of a file would change, without reading it; None: it cannot be seen."""
    try:
        about = path.lstat()
    except OSError:
        return None
    return about.st_mode, about.st_size, about.st_mtime_ns, about.st_ino


def is_shortage(error: OSError) -> bool:
    """Return whether an error comes from a lack of memory, processes or descriptors, not from the disk."""
    return error.errno in SHORTAGES
