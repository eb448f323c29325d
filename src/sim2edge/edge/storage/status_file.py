"""Keep the local status, for people: in the home, or in memory while the home takes nothing.

file = StatusFile(home, runtime)
file.write(text)        # when it changed
file.keep()             # now and then: again, if the file is not the one that was written
"""

import threading
from collections.abc import Callable
from pathlib import Path

from sim2edge.edge.storage.durable import look_of, write_durably

NAME = "status.json"


class StatusFile:
    """The file `status.json` of one home; safe to share between threads."""

    def __init__(self, home: Path, runtime: Callable[[], Path] | None = None) -> None:
        self._path = home / NAME
        self._runtime = runtime
        self._lock = threading.Lock()
        self._text = ""
        self._look: object = None
        """How the file looked when it was written; None: it is not in the home."""

    def write(self, text: str) -> OSError | None:
        """Write a status; return why the home did not take it.

        Raises:
            OSError: memory does not take it either.
        """
        with self._lock:
            return self._write(text)

    def keep(self) -> None:
        """Write the status again if its file was lost, damaged or is not in the home; not while it is being written.

        Raises:
            OSError: the home does not take it.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            intact = self._look is not None and self._look == look_of(self._path)
            problem = self._write(self._text) if self._text and not intact else None
        finally:
            self._lock.release()
        if problem:
            raise problem

    def _write(self, text: str) -> OSError | None:
        self._text, self._look = text, None
        try:
            write_durably(self._path, text.encode())
        except OSError as error:
            if self._runtime is None:
                raise
            write_durably(self._runtime() / NAME, text.encode())
            return error
        self._look = look_of(self._path)
        return None
