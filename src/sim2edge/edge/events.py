"""Log a device's events for the journal: one JSON object per line on standard error."""

import json
import os
import re
import sys
import threading
import time

SERIOUS = re.compile(r"cannot|damaged|ended|fail|lost|not |refused|rolled back|withdrawn")
"""Events that are warnings."""
QUIET_S = 60.0
"""Seconds in which an event that repeats is counted instead of logged."""
REMEMBERED = 64


def priority(event: str) -> str:
    """Return the prefix for the journal, by how serious a line is (sd-daemon(3)); empty where no journal reads."""
    if not os.environ.get("JOURNAL_STREAM"):
        return ""
    return "<4>" if SERIOUS.search(event) else "<6>"


def log(event: str, **fields: object) -> None:
    """Write one event with its fields; a journal that takes nothing ends no program."""
    try:
        print(priority(event) + json.dumps({"event": event, **fields}), file=sys.stderr, flush=True)
    except OSError:
        return


class Repeated:
    """Logs an event at once, and its repetitions as one line a minute: a broken camera must not fill a card."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[object, ...], tuple[float, int]] = {}

    def log(self, event: str, **fields: object) -> bool:
        """Write the event, unless the same was written less than a minute ago; return whether it was written."""
        what, now = (event, *map(str, fields.values())), time.monotonic()
        with self._lock:
            since, count = self._seen.pop(what, (float("-inf"), 0))
            quiet = now - since < QUIET_S
            self._seen[what] = (since, count + 1) if quiet else (now, 0)
            while len(self._seen) > REMEMBERED:
                self._seen.pop(next(iter(self._seen)))
        if not quiet:
            log(event, **fields, **({"repeated": count} if count else {}))
        return not quiet
