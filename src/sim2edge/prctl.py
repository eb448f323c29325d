"""Tie processes together by prctl(2): a child dies with its parent, orphans get a parent.

Light to import: the detector on the device uses it.
"""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(how: signal.Signals = signal.SIGKILL, parent: int | None = None) -> None:
    """Have the kernel send this process `how` when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG).

    Args:
        how: the signal.
        parent: the parent's process id; with it, a parent that ended before this call is detected, too.
    """
    _prctl(PR_SET_PDEATHSIG, int(how))
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), how)


def adopt_orphans() -> None:
    """Become the parent of every orphaned descendant, so that none is lost (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
