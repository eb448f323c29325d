"""Start processes that cannot outlive their parent, and end whole trees of them."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from sim2edge.prctl import die_with_parent


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    log: Path | None,
    how: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start `command` in `folder` in a session of its own; output is appended to `log`; `how` reaches it if we die.

    Without a `log`, it goes to where ours goes. Must be called from a thread that lives as long as the process should.
    """
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") if log else contextlib.nullcontext() as output:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(how),
        )


def end(processes: Iterable[psutil.Process], grace_s: float) -> None:
    """SIGTERM the processes, wait at most `grace_s`, SIGKILL what is left; those already gone are fine."""
    pending = list(processes)
    _signal_all(pending, signal.SIGTERM)
    _, alive = psutil.wait_procs(pending, timeout=grace_s)
    _signal_all(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def end_descendants(grace_s: float) -> None:
    """End everything below this process, again and again until nothing is left, and reap it."""
    me = psutil.Process()
    while below := me.children(recursive=True):
        end(below, grace_s)
        reap_orphans(set())


def reap_orphans(ours: set[int]) -> None:
    """Collect the exit codes of ended children that were adopted; those in `ours` are left to whoever started them."""
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
