"""Start processes that cannot outlive their parent, and end whole process trees."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from sim2edge.prctl import die_with_parent
from sim2edge.private_files import OTHERS, append_private


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    log: Path | None,
    how: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start `command` in `folder` in its own session; output is appended to `log`; it gets signal `how` if we die.

    The files that it creates are accessible to their owner only.

    Without a `log` it inherits our output. Must be called from a thread that lives as long as the process should.
    """
    with append_private(log) if log else contextlib.nullcontext() as output:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
            umask=OTHERS,
            preexec_fn=lambda: die_with_parent(how),
        )


def end(processes: Iterable[psutil.Process], grace_s: float) -> None:
    """Send SIGTERM to the processes, wait at most `grace_s`, SIGKILL the rest; ended ones are ignored."""
    pending = list(processes)
    _signal_all(pending, signal.SIGTERM)
    _, alive = psutil.wait_procs(pending, timeout=grace_s)
    _signal_all(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def end_descendants(grace_s: float) -> None:
    """End all descendants of this process, repeatedly until none is left, and reap them."""
    me = psutil.Process()
    while below := me.children(recursive=True):
        end(below, grace_s)
        reap_orphans(set())


def reap_orphans(ours: set[int]) -> None:
    """Reap ended children that were adopted; those in `ours` are left to their owners."""
    for child in psutil.Process().children():
        if child.pid not in ours:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)


def _signal_all(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
