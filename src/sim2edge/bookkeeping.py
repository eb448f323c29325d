"""Keep what a run needs beside its work: the checkpoints it resumes from, and its cost."""

import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sim2edge.bus import Bus
from sim2edge.manifest import Cost
from sim2edge.stage import Outcome


class NoCheckpoints:
    """For a run that is never resumed, and may not find the checkpoints of another one."""

    def save(self, path: Path) -> None:
        """Do nothing."""

    def restore(self, name: str, into: Path) -> None:
        """Return None."""


class BusCheckpoints:
    """Checkpoints below the artifact's own folder, which readers ignore."""

    def __init__(self, bus: Bus, reference: str) -> None:
        self._bus = bus
        self._folder = f"{reference}/checkpoints"

    def save(self, path: Path) -> None:
        """See `sim2edge.stage.Checkpoints`."""
        self._bus.put(f"{self._folder}/{path.name}", path)

    def restore(self, name: str, into: Path) -> Path | None:
        """See `sim2edge.stage.Checkpoints`."""
        key = f"{self._folder}/{name}"
        if self._bus.size(key) is None:
            return None
        target = into / name
        with target.open("wb") as out:
            for chunk in self._bus.stream(key):
                out.write(chunk)
        return target


class Clock:
    """The start and the cost of a run so far."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self._start = time.monotonic()
        self._work = 0.0

    def time(self, work: Callable[[], Outcome]) -> Outcome:
        """Run the stage's own function and record its duration."""
        start = time.monotonic()
        try:
            return work()
        finally:
            self._work = time.monotonic() - start

    def cost(self, bytes_in: int, bytes_out: int) -> Cost:
        """Return the cost so far."""
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return Cost(
            wall_s=round(time.monotonic() - self._start, 3),
            work_s=round(self._work, 3),
            cpu_s=round(sum(each.ru_utime + each.ru_stime for each in usage), 3),
            bytes_in=bytes_in,
            bytes_out=bytes_out,
        )
