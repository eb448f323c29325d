"""Writes that survive a power cut: temporary file, fsync, rename, fsync of the folder.

write_durably(home / "state.json", data)
point_link(home / "current", "slots/b")
"""

import os
from pathlib import Path


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Let `path` hold `data`, or still what it held before, whenever the power goes."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    flush_folder(path.parent)


def point_link(link: Path, target: str) -> None:
    """Let the symbolic link `link` point at `target`, in one step."""
    if link.is_symlink() and str(link.readlink()) == target:
        return
    part = link.with_name(f".{link.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    part.replace(link)
    flush_folder(link.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk: renames and removals in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
