"""Tell a process that hangs from one that is kept from running: by a busy machine, a slow disk, or a stop signal.

    clock = WorkClock(pid)
    clock.passed(0.1)       # of these seconds, those in which the process could have worked

The kernel counts for every thread how long it was ready to run and had no processor (schedstat, in nanoseconds:
https://docs.kernel.org/scheduler/sched-stats.html).
"""

from pathlib import Path

STOPPED, DISK = "T", "D"


class WorkClock:
    """Measures how long a process could have worked."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._waited = waited_s(self._folder)

    def passed(self, seconds: float) -> float:
        """Return how many of the last `seconds` count, since the last call."""
        waited = waited_s(self._folder)
        starved = max((after - self._waited.get(thread, 0.0) for thread, after in waited.items()), default=0.0)
        self._waited = waited
        if set(states_of(self._folder)) & {STOPPED, DISK}:
            return 0.0
        return max(0.0, seconds - starved)


def waited_s(folder: Path) -> dict[str, float]:
    """Return how long each thread of a process has waited for a processor; empty if it is not known."""
    found = {}
    try:
        for thread in (folder / "task").iterdir():
            found[thread.name] = int((thread / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return found
    return found


def states_of(folder: Path) -> str:
    """Return the letters of the states of a process's threads (proc_pid_stat(5)); empty if it is gone.

    An inference runs in any of them, and waits for the disk where its code or its pages are read from there.
    """
    found = ""
    try:
        for thread in (folder / "task").iterdir():
            found += (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return found
    return found
