"""Measure the cost of a run: wall time, time in the stage's own function, CPU time."""

import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sim2edge.manifest import Cost
from sim2edge.stage import Outcome


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
