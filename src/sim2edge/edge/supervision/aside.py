"""Do what may hang in a thread beside the main loop: a card at its end takes minutes to write or to read a block.

task = Aside(write)
task.ready(patience_s=0.5)          # False: it is not done yet; look again later
task.result()                       # what it returned, or raises what it raised
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Aside(Generic[Result]):
    """One call in a thread of its own."""

    def __init__(self, action: Callable[[], Result]) -> None:
        """Start the call; where no thread can be had it is made here and now."""
        self._action = action
        self._result: Result | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="aside")
        try:
            self._thread.start()
        except (RuntimeError, MemoryError):  # can't start new thread
            self._work()

    def ready(self, patience_s: float = 0.0) -> bool:
        """Return whether the call has ended, after waiting for it so many seconds at most."""
        if self._thread.is_alive() and patience_s > 0:
            self._thread.join(patience_s)
        return not self._thread.is_alive()

    def result(self) -> Result:
        """Return what a call returned that has ended, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def _work(self) -> None:
        try:
            self._result = self._action()
        except Exception as error:  # raised again by `result`
            self._error = error
