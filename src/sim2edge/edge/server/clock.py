"""Reckon the time on a device whose clock may be wrong, and name what is wrong with it.

    clock = DeviceClock(home)
    clock.now()             # Unix seconds; plausible also where the system's clock says 1970
    clock.fault             # "1970-01-01, before ..."; empty: nothing is known to be wrong

A Raspberry Pi has no battery for its clock, and may start in 1970. All metadata of the update repository says when it
was signed (`signed_at`); what this device has verified and stored is a lower bound of the time. The bound is used only
where the clock is evidently unset: were the signing machine a year ahead for an hour, dates that it signed would stop
every device for a year. File times are no bound for the same reason: a clock that was ahead once has written them.
"""

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sim2edge.edge.storage.durable import read_regular

UNSET_BEFORE = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""There was no such software before: an earlier clock was never set."""
BEHIND_S = 86400.0
"""Seconds by which a clock may be behind what was signed without it being reported."""
SIGNED_FILES = ("metadata/timestamp.json", "metadata/snapshot.json", "metadata/targets.json", "root.json")
"""Where a device stores metadata, once verified."""
MAX_BYTES = 16 * 2**20
LATEST = 2.0**33
"""Dates beyond it are none."""


def correct_time(system: float, signed_at: float, reckoned: float) -> float:
    """Return the time by which a device goes, Unix seconds.

    Args:
        system: the system's clock.
        signed_at: when the newest metadata that was verified was signed; 0: unknown.
        reckoned: what the time was reckoned to be before, plus the seconds since; 0: unknown.
    """
    return system if system >= UNSET_BEFORE else max(UNSET_BEFORE, signed_at, reckoned)


def clock_fault(system: float, signed_at: float) -> str:
    """Return what is wrong with the system's clock, in words; empty if nothing is known to be.

    Args:
        system: see `correct_time`.
        signed_at: see `correct_time`.
    """
    if system < UNSET_BEFORE:
        return f"{day(system)}, before {day(max(UNSET_BEFORE, signed_at))}: it was never set; set it, or wait for NTP"
    if system < signed_at - BEHIND_S:
        return f"{day(system)}, but the server signed on {day(signed_at)}: this clock or the server's is wrong"
    return ""


def day(unix: float) -> str:
    """Return the date of a time, for people."""
    return datetime.fromtimestamp(min(max(unix, 0.0), LATEST), UTC).strftime("%Y-%m-%d")


def newest_signature(files: Iterable[Path]) -> float:
    """Return when the newest of these files was signed, Unix seconds; 0: none says so."""
    return max((signed_at(path) for path in files), default=0.0)


def signed_at(path: Path) -> float:
    """Return when a file of metadata was signed, Unix seconds; 0: it does not say, or cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        when = datetime.fromisoformat(json.loads(read_regular(path, MAX_BYTES))["signed"]["signed_at"])
        if when.tzinfo and 0 < when.timestamp() < LATEST:
            return when.timestamp()
    return 0.0


class DeviceClock:
    """The clock of one device."""

    def __init__(
        self,
        home: Path,
        system: Callable[[], float] = time.time,
        running: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the clock of a home.

        Args:
            home: the folder with the verified metadata.
            system: the system's clock, Unix seconds.
            running: seconds that never go backwards.
        """
        self._files = [home / name for name in SIGNED_FILES]
        self._system = system
        self._running = running
        self._reckoned = (0.0, running())
        self._look: list[int] = []
        self._signed_at = 0.0

    def now(self) -> float:
        """Return the time, Unix seconds; it goes on where the system's clock is unset."""
        value, since = self._reckoned
        running = self._running()
        now = correct_time(self._system(), self.signed_at, value + running - since if value else 0.0)
        self._reckoned = (now, running)
        return now

    @property
    def fault(self) -> str:
        """What is wrong with the clock, in words; empty if nothing is known to be."""
        return clock_fault(self._system(), self.signed_at)

    @property
    def signed_at(self) -> float:
        """When the newest verified metadata was signed, Unix seconds; 0: unknown."""
        look = [modified(path) for path in self._files]
        if look != self._look:
            self._look, self._signed_at = look, newest_signature(self._files)
        return self._signed_at


def modified(path: Path) -> int:
    """Return when a file was written, to tell whether it changed; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
