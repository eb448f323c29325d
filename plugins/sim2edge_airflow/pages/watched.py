"""A value that a thread keeps fresh while somebody looks at it, so that no request waits for where it comes from.

    fleet = Watched(read_everything, first=(), seconds=15)
    fleet.look()        # at once, but for the first look in a while

The thread ends by itself a minute after the last look, and starts anew with the next.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sim2edge.errors import BadInput, Unavailable

T = TypeVar("T")

IDLE_S = 60.0
"""Seconds without a look after which the thread ends."""
FIRST_WAIT_S = 1.5
"""The longest that a look waits, and only for the first read of a new thread."""
SHARE = 0.1
"""The most of a thread's time that goes into reading: what takes long is read less often."""
MAX_S = 60.0
"""The longest between two reads, however long the first of all took."""


class Watched(Generic[T]):
    """A value, how old it is, and what is wrong with its source."""

    def __init__(self, read: Callable[[], T], first: T, seconds: float) -> None:
        """`first` is the value until `read` gave one; `seconds` lie between two reads."""
        self._read = read
        self._seconds = seconds
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._looked = 0.0
        self._began = 0.0
        self._tried = threading.Event()
        self._value = first
        self._fresh: float | None = None
        self.error: str | None = None
        """One line on why the last read failed; None when it did not."""

    @property
    def age_s(self) -> float | None:
        """Seconds since the value was read; None before the first time."""
        return None if self._fresh is None else time.monotonic() - self._fresh

    def look(self, wait_s: float = FIRST_WAIT_S) -> T:
        """Return the value as it is known now; waits, and not long, only when nobody looked for a while."""
        self._looked = time.monotonic()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._tried.clear()
                self._began = time.monotonic()
                self._thread = threading.Thread(target=self._follow, daemon=True, name="watched")
                self._thread.start()
        self._tried.wait(max(self._began + wait_s - time.monotonic(), 0.0))
        return self._value

    def _follow(self) -> None:
        while time.monotonic() - self._looked < IDLE_S:
            start = time.monotonic()
            self._read_once()
            took = time.monotonic() - start
            time.sleep(self._seconds if self.error else pause(took, self._seconds))

    def _read_once(self) -> None:
        try:
            self._value = self._read()
            self._fresh, self.error = time.monotonic(), None
        except (BadInput, Unavailable) as error:
            self.error = str(error)
        except Exception as error:  # whatever it is, the page goes on with what it has, and says so
            self.error = f"{type(error).__name__}: {error}".splitlines()[0]
        finally:
            self._tried.set()


def pause(took: float, seconds: float) -> float:
    """Return seconds until the next read, after one that took so long."""
    return min(max(seconds, took / SHARE - took), max(seconds, MAX_S))
