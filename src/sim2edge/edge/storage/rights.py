"""Regain what the agent's own user may not use because of its mode; move aside what belongs to another user.

    claim(folder)               # mode 0700 again, if it is this user's
    claim_tree(slot)            # with everything in it
    set_aside(path)             # slots/a becomes slots/.aside-0, for what can be neither used nor removed

A mode comes first: nothing is lost by it. A rename within a folder of this user works for whatever is in it.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

ASIDE = ".aside-"
MAX_ASIDE = 16
"""Most things that are kept aside in one folder."""


def claim(path: Path) -> None:
    """Let this user use a file or folder of its own again; leave a link, and what is another user's, as it is."""
    with suppress(OSError):  # it is gone, or the disk takes nothing: whoever uses it learns that
        about = path.lstat()
        if about.st_uid != os.geteuid():
            return
        if stat.S_ISDIR(about.st_mode) and about.st_mode & 0o700 != 0o700:
            path.chmod(0o700)
        elif stat.S_ISREG(about.st_mode) and not about.st_mode & 0o400:
            path.chmod(0o600)


def claim_tree(path: Path) -> None:
    """Claim a file or folder with everything in it."""
    claim(path)
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            claim(Path(folder, name))


def is_usable(folder: Path) -> bool:
    """Return whether this user may list and change a folder; that a disk is read-only is no matter of rights."""
    about = folder.stat()
    mine = about.st_uid == os.geteuid() and about.st_mode & 0o700 == 0o700
    return mine or os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def set_aside(path: Path) -> None:
    """Rename what can be neither used nor removed; leave what is aside already.

    Raises:
        OSError: the folder that it is in takes no change, or too much is aside there.
    """
    if not path.name.startswith(ASIDE):
        path.rename(name_aside(path))


def name_aside(path: Path) -> Path:
    """Return a free name beside a path, for what is there.

    Raises:
        PermissionError: too much is aside there.
    """
    for number in range(MAX_ASIDE):
        aside = path.with_name(f"{ASIDE}{number}")
        if not os.path.lexists(aside):
            return aside
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
