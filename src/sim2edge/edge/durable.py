"""Write files so that they survive a power cut: temporary file, fsync, rename, fsync of the folder.

write_durably(home / "state.json", data)
point_link(home / "current", "slots/b")
"""

import os
from pathlib import Path


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace the content of `path` with `data` atomically: after a power cut it holds the old or the new content."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    flush_folder(path.parent)


def point_link(link: Path, target: str) -> None:
    """Point the symbolic link `link` at `target` atomically."""
    if link.is_symlink() and str(link.readlink()) == target:
        return
    part = link.with_name(f".{link.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    part.replace(link)
    flush_folder(link.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that renames and removals in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
