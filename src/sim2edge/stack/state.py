"""Read and write the state of a running stack, `<home>/state.json`, and allow one stack for each folder.

The running stack holds a lock for life, which names the process to stop.
"""

import fcntl
import os
from enum import StrEnum
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from sim2edge.private_files import make_private_folder, write_private
from sim2edge.stack.lifecycle import Phase
from sim2edge.stack.settings import StackSettings


class StackPhase(StrEnum):
    """The phase of the whole stack."""

    STARTING = "starting"
    READY = "ready"  # everything has been healthy; single services may be down since
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"  # could not start; nothing runs


class ProcessId(BaseModel):
    """The identity of a process: process ids are reused, a creation time is not."""

    model_config = ConfigDict(frozen=True)

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """Return the running process `pid`; None when there is none."""
        try:
            return cls(pid=pid, created=psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def find(self) -> psutil.Process | None:
        """Return the process, if it still runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 0.01
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


class ServiceState(BaseModel):
    """One service at the last change."""

    name: str
    phase: Phase = Phase.PENDING
    process: ProcessId | None = None
    started: float | None = None
    """Unix time (s) at which its process was started."""
    restarts: int = 0
    detail: str = ""
    port: int | None = None
    url: str = ""
    log: Path


class StackState(BaseModel):
    """The whole stack at the last change."""

    phase: StackPhase = StackPhase.STARTING
    detail: str = ""
    settings: StackSettings
    supervisor: ProcessId | None = None
    services: list[ServiceState]


def state_path(home: Path) -> Path:
    """Return the path of the state file."""
    return home / "state.json"


def write_state(state: StackState) -> None:
    """Replace the state file."""
    write_private(state_path(state.settings.home), state.model_dump_json(indent=2))


def read_state(home: Path) -> StackState | None:
    """Return the last state written; None when there is none, or the file is damaged: a new start replaces it."""
    try:
        return StackState.model_validate_json(state_path(home).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError, UnicodeDecodeError):
        return None


def lock_path(home: Path) -> Path:
    """Return the path of the lock file."""
    return home / "stack.lock"


def acquire(home: Path) -> int | None:
    """Take the lock and write this process into it; return the descriptor, or None when another process holds it.

    The kernel drops the lock with the last process that holds the descriptor, however it ends.
    """
    make_private_folder(home)
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
