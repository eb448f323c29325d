"""Cache a value that a background thread refreshes while it is in use, so that no request waits for its source.

    fleet = Watched(read_everything, first=(), seconds=15)
    fleet.look()        # the cached value, at once except for the first call after idling

The thread ends a minute after the last call, and the next call starts a new one.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sim2edge.errors import BadInput, Unavailable

T = TypeVar("T")

IDLE_S = 60.0
"""Seconds without a call after which the thread ends."""
FIRST_WAIT_S = 1.5
"""Maximum seconds a call waits, only for the first read of a new thread."""
SHARE = 0.1
"""Maximum share of the thread's time spent reading: slow sources are read less often."""
MAX_S = 60.0
"""Maximum seconds between two reads of a slow source."""


class Watched(Generic[T]):
    """A cached value, its age, and the last error of its source."""

    def __init__(self, read: Callable[[], T], first: T, seconds: float) -> None:
        """Take `first` as the value until `read` returns one, called every `seconds`."""
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
        """Why the last read failed, one line; None if it succeeded."""
        self._kind: type[BadInput | Unavailable] = Unavailable

    @property
    def age_s(self) -> float | None:
        """Seconds since the value was read; None before the first read."""
        return None if self._fresh is None else time.monotonic() - self._fresh

    def failure(self) -> BadInput | Unavailable | None:
        """Return the error of the last read, in its class, if no read has succeeded yet; else None."""
        return self._kind(self.error) if self._fresh is None and self.error else None

    def look(self, wait_s: float = FIRST_WAIT_S) -> T:
        """Return the cached value; block, at most `wait_s` seconds, only for the first read after idling."""
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
            time.sleep(min(self._seconds if self.error else pause(took, self._seconds), IDLE_S))

    def _read_once(self) -> None:
        try:
            self._value = self._read()
            self._fresh, self.error = time.monotonic(), None
        except (BadInput, Unavailable) as error:
            self._kind, self.error = type(error), str(error)
        except Exception as error:  # any error: the pages keep the cached value, and show the error
            self._kind, self.error = Unavailable, f"{type(error).__name__}: {error}".splitlines()[0]
        finally:
            self._tried.set()


def pause(took: float, seconds: float) -> float:
    """Return the seconds to wait before the next read, after one that took `took` seconds."""
    return min(max(seconds, took / SHARE - took), max(seconds, MAX_S))
