"""Create files and folders that only their owner can access, whatever the umask; take away the access of others.

make_private_folder(home / "keys")              parents that are missing, too
write_private(home / "state.json", "{}")        text or bytes
with reserve_private(path, 4096) as write: ...  before what must not happen if the file cannot be written
with append_private(home / "s3.log") as file:   for the output of a process
restrict(home / "s3")                           a folder of an earlier version, with everything in it
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

OTHERS = 0o077
"""The permissions of everyone but the owner; also the umask of processes whose files are private."""


def make_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents, each with mode 0700; existing ones stay unchanged."""
    if folder.is_dir():
        return
    make_private_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Replace `path` by `content` atomically, mode 0600 from the first byte; its folder is created if missing (0700).

    `durable`: flush it to disk first, so that a power cut leaves the old or the new content.
    """
    make_private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = error.filename or str(path)  # a write that fails names none
        raise


@contextmanager
def reserve_private(path: Path, room: int) -> Iterator[Callable[[bytes], None]]:
    """Yield what replaces `path` durably, mode 0600, once there is something to write; its room is taken at once.

    For a file that must not be lost after what comes before it, such as the only copy of a key.

    Args:
        path: the file; its folder is created if missing (0700).
        room: most bytes that will be written.

    Raises:
        OSError: the file cannot be written; before anything was yielded.
    """
    make_private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", 0) as file:
            file.write(bytes(room))
            os.fsync(file.fileno())

            def replace(content: bytes) -> None:
                file.seek(0)
                file.write(content)
                file.truncate(len(content))
                os.fsync(file.fileno())
                temporary.replace(path)

            yield replace
    finally:
        temporary.unlink(missing_ok=True)


def append_private(path: Path) -> BinaryIO:
    """Open a file to append to, created with mode 0600; its folder is created if missing (0700)."""
    make_private_folder(path.parent)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def restrict(path: Path) -> list[Path]:
    """Take the access of others to a file, or to a folder and everything in it, away; links are not followed.

    Returns:
        what stays open to others, because it belongs to another user.
    """
    return [each for each in _tree(path) if not _restrict(each)]


def _tree(path: Path) -> Iterator[Path]:
    if path.is_symlink() or not path.exists():
        return
    yield path
    for folder, folders, files in os.walk(path):
        yield from (Path(folder) / name for name in (*folders, *files))


def _restrict(path: Path) -> bool:
    """Restrict one file or folder, unless it is gone by now; return False if it belongs to another user."""
    try:
        mode = path.lstat().st_mode
        if mode & OTHERS and not path.is_symlink():
            path.chmod(mode & ~OTHERS & 0o7777)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    return True
