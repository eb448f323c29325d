"""Allow one stack for each folder: by a lock that the running stack holds, and that names the process to stop."""

import fcntl
import os
from pathlib import Path

from pydantic import ValidationError

from sim2edge.stack.state import ProcessId


def lock_path(home: Path) -> Path:
    """Return the path of the lock file."""
    return home / "stack.lock"


def acquire(home: Path) -> int | None:
    """Take the lock and write this process into it; return the descriptor, or None when another process holds it.

    The kernel drops the lock with the last process that holds the descriptor, however it ends.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(lock_path(home), os.O_RDWR | os.O_CREAT, 0o600)
    if not _try_lock(descriptor):
        os.close(descriptor)
        return None
    me = ProcessId.of(os.getpid())
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, me.model_dump_json().encode() if me else b"", 0)
    return descriptor


def is_running(home: Path) -> bool:
    """Return whether a stack holds the lock of this folder."""
    try:
        descriptor = os.open(lock_path(home), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


def owner(home: Path) -> ProcessId | None:
    """Return the process that the lock names."""
    try:
        return ProcessId.model_validate_json(lock_path(home).read_text())
    except (FileNotFoundError, ValidationError):
        return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
