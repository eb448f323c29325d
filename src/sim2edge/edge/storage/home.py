"""Open the home folder of a device: lock it, and find a place in memory for what it cannot take.

    lock = lock_home(home)                          # one agent; works on a read-only file system as well
    runtime = RuntimeFolder(home)
    folder = keep_token(home, runtime)              # the folder with the file `token`

The place in memory is a private folder below /run, XDG_RUNTIME_DIR or /dev/shm, found by the path of the home, so that
`sim2edge device status` finds it, too.
"""

import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sim2edge.edge.storage.durable import read_regular, remove_any, write_durably
from sim2edge.errors import BadInput
from sim2edge.private_files import make_private_folder

TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}")
MAX_TOKEN_BYTES = 1000


class RuntimeFolder:
    """The folder in memory of one home; it is made when it is first needed."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._name = f"sim2edge-{hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]}"

    def make(self) -> Path:
        """Return the folder, which exists then.

        Raises:
            OSError: no place takes it.
        """
        last = OSError("there is no folder in memory")
        for place in self._places():
            try:
                place.mkdir(mode=0o700, exist_ok=True)
                if self._is_ours(place) and os.access(place, os.W_OK):
                    return place
            except OSError as error:
                last = error
        raise last

    def existing(self) -> list[Path]:
        """Return the folders that an agent may have made."""
        return [place for place in self._places() if self._is_ours(place)]

    def _places(self) -> Iterator[Path]:
        mine = Path(f"/run/user/{os.geteuid()}")
        given = [os.environ.get(name, "") for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR")]
        places = [*map(Path, filter(None, given)), Path("/run/sim2edge"), mine, Path("/dev/shm")]  # noqa: S108
        for place in (*places, Path(os.environ.get("TMPDIR") or "/tmp")):  # noqa: S108 - tempfile would write there
            if os.path.isdir(place):  # noqa: PTH112 - Path.is_dir raises where ProtectHome= hides /run/user
                yield place / self._name

    def _is_ours(self, place: Path) -> bool:
        """Return whether a place is a folder, no link, that nobody else may use."""
        try:
            about, home = place.lstat(), self._home.stat()
        except OSError:
            return False
        return stat.S_ISDIR(about.st_mode) and about.st_uid in (os.geteuid(), home.st_uid) and not about.st_mode & 0o077


def lock_home(home: Path) -> int:
    """Lock the home folder, which only its owner may access, for this process; return the lock's file descriptor.

    Raises:
        BadInput: another agent holds it, or there is no such folder and none can be made.
    """
    try:
        make_private_folder(home)
        with suppress(OSError):  # it belongs to another user, as a mounted folder may, or is read-only
            home.chmod(0o700)
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise BadInput(f"{home}: cannot be the home of a device: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _check_earlier_lock(home)
    except BlockingIOError as error:
        os.close(descriptor)
        raise BadInput(f"{home}: a device is running there already") from error
    return descriptor


def _check_earlier_lock(home: Path) -> None:
    """Check that no agent runs that locks the file `lock` instead of the folder, as earlier ones did; remove it.

    Raises:
        BlockingIOError: one runs.
    """
    path = home / "lock"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # there is none, or nothing that an agent could lock
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
    with suppress(OSError):
        remove_any(path)


def is_locked(home: Path) -> bool:
    """Return whether an agent runs on a home."""
    try:
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def keep_token(home: Path, runtime: RuntimeFolder) -> Path:
    """Return the folder with the file `token`, made or repaired if need be: the home, or the folder in memory.

    Raises:
        OSError: neither takes it.
    """
    if read_token(home):
        return home
    for folder in runtime.existing():
        if read_token(folder):
            with suppress(OSError):  # the home may take it by now
                _write_token(home, read_token(folder))
                return home
            return folder
    token = secrets.token_urlsafe(32)
    try:
        _write_token(home, token)
    except OSError:
        folder = runtime.make()
        _write_token(folder, token)
        return folder
    return home


def _write_token(folder: Path, token: str) -> None:
    write_durably(folder / "token", f"{token}\n".encode(), mode=0o600)


def read_token(folder: Path) -> str:
    """Return the token that grants access to the detector's service; empty: there is none that is whole."""
    try:
        found = read_regular(folder / "token", MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return found if TOKEN.fullmatch(found) else ""
