"""Run a command so that no process of it outlives its task: `python stage_guard.py <command> [argument]...`

The task holds the other end of this process's standard input. When that end closes, because the task cancels or was
killed, the command gets SIGTERM, and SIGKILL after `GRACE_S` seconds. When the command has ended, every descendant it
left running is killed, in other sessions too, and its scratch folder is removed. The exit code is the command's own, or
128 + signal.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from sim2edge.prctl import adopt_orphans, die_with_parent
from sim2edge.processes import end_descendants

GRACE_S = 10


def main(command: list[str]) -> int:
    """Run `command` with a scratch folder of its own, and return its exit code."""
    adopt_orphans()
    scratch = make_scratch()
    try:
        return run(command, {**os.environ, "SIM2EDGE_SCRATCH": scratch} if scratch else dict(os.environ))
    finally:
        end_descendants(grace_s=0)
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)


def make_scratch() -> str | None:
    """Create a folder for this run below `SIM2EDGE_SCRATCH`; None if that fails: the stage then reports the error."""
    base = Path(os.environ.get("SIM2EDGE_SCRATCH") or tempfile.gettempdir())
    try:
        base.mkdir(parents=True, exist_ok=True)
        return tempfile.mkdtemp(prefix="task-", dir=base)
    except OSError:
        return None


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run `command` until it ends or the task's end of standard input closes; return its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, preexec_fn=die_with_parent)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    ended = os.pidfd_open(child.pid)
    ready, _, _ = select.select([ended, sys.stdin], [], [])
    if ended not in ready:
        child.terminate()
        if not select.select([ended], [], [], GRACE_S)[0]:
            child.kill()
    code = child.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
