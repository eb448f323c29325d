"""Turn the output of a stage into a readable task log.

A stage prints one JSON event per line (`sim2edge.progress`); any other output, such as a library's warning, is logged
unchanged.
"""

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

SECONDS_BETWEEN_LINES = 2.0
TAIL = 5


class StageOutput:
    """Logs the output of one stage, throttles its progress, and keeps its result or error."""

    def __init__(self, log: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._next_progress = 0.0
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._error: str | None = None
        self.committed: str | None = None
        """Reference of the artifact that the stage reports as committed or cached."""

    def hear(self, line: str) -> None:
        """Log one line of output, and record its event."""
        event = parse_event(line)
        if event is None:
            if line.strip():
                self._tail.append(line.strip())
                self._log.info(line)
            return
        handlers = {"progress": self._progress, "log": self._message, "committed": self._commit, "error": self._fail}
        handlers.get(event.pop("event"), self._message)(event)

    @property
    def error(self) -> str:
        """Why the stage failed: its error event, or the last lines it printed."""
        return self._error or " | ".join(self._tail) or "it printed no reason"

    def _progress(self, event: dict[str, Any]) -> None:
        finished = event.get("done") == event.get("total")
        if finished or self._clock() >= self._next_progress:
            self._next_progress = self._clock() + SECONDS_BETWEEN_LINES
            event.pop("stage", None)
            self._log.info(f"{event.pop('done', '?')}/{event.pop('total', '?')}{details(event)}")

    def _message(self, event: dict[str, Any]) -> None:
        event.pop("stage", None)
        self._log.info(f"{event.pop('message', '')}{details(event)}")

    def _commit(self, event: dict[str, Any]) -> None:
        self.committed = str(event.get("reference"))
        self._log.info(f"committed {self.committed}{details(event.get('summary') or {})}")

    def _fail(self, event: dict[str, Any]) -> None:
        self._error = str(event.get("message"))
        self._log.error(self._error)


def parse_event(line: str) -> dict[str, Any] | None:
    """Return the JSON event on a line; None if the line is not an event."""
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def details(fields: dict[str, Any]) -> str:
    """Return named values as text to append to a sentence; numbers rounded, nested values omitted."""
    plain = {name: value for name, value in fields.items() if isinstance(value, str | int | float)}
    return "".join(
        f"  {name}={value:.4g}" if isinstance(value, float) else f"  {name}={value}" for name, value in plain.items()
    )
