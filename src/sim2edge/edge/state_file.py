"""Keep a device's state in two files, each with a counter and a checksum, so that no single damage loses it.

    store = StateFile(home)
    state = store.read()            # None: both are missing or damaged
    store.write(state)              # replaces the older one

A write replaces the older copy, flushed to disk, so that the newer one is whole at every moment.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sim2edge.edge.durable import write_durably
from sim2edge.edge.trial import Ban, Installed, Rest, State, Trial

NAMES = ("state-0.json", "state-1.json")
MAX_BYTES = 256 * 1024


class StateFile:
    """The two copies in one home folder; not safe to share between threads."""

    def __init__(self, home: Path) -> None:
        self._paths = [home / name for name in NAMES]
        self._counter = 0
        self._next = self._paths[0]

    @property
    def exists(self) -> bool:
        """Whether there is any copy, readable or not."""
        return any(path.exists() for path in self._paths)

    def read(self) -> State | None:
        """Return the newest state that is whole; None if there is none."""
        found: list[tuple[int, State, Path]] = []
        for path in self._paths:
            try:
                counter, state = decode(path.read_bytes()[:MAX_BYTES])
            except (OSError, ValueError):
                continue
            found.append((counter, state, path))
        if not found:
            return None
        self._counter, state, newest = max(found, key=lambda each: each[0])
        (self._next,) = (path for path in self._paths if path != newest)
        return state

    def write(self, state: State) -> None:
        """Write a state.

        Raises:
            OSError: it could not be written; the copy before it is whole.
        """
        write_durably(self._next, encode(self._counter + 1, state))
        self._counter += 1
        (self._next,) = (path for path in self._paths if path != self._next)


def encode(counter: int, state: State) -> bytes:
    """Return a state as stored: one JSON object with the SHA-256 of the rest."""
    content = {"counter": counter, "state": {**asdict(state), "proven": sorted(state.proven)}}
    text = json.dumps(content, sort_keys=True)
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "content": text}, indent=1).encode()


def decode(data: bytes) -> tuple[int, State]:
    """Return counter and state.

    Raises:
        ValueError: the data is damaged.
    """
    try:
        stored: dict[str, Any] = json.loads(data)
        if hashlib.sha256(stored["content"].encode()).hexdigest() != stored["sha256"]:
            raise ValueError("its checksum is wrong")
        content = json.loads(stored["content"])
        state = content["state"]
        return int(content["counter"]), State(
            slots={slot: Installed(**held) for slot, held in state["slots"].items()},
            proven=frozenset(state["proven"]),
            active=state["active"],
            trial=Trial(**state["trial"]) if state["trial"] else None,
            bans=tuple(Ban(**{**each, "installed": Installed(**each["installed"])}) for each in state["bans"]),
            rests=tuple(Rest(**{**each, "installed": Installed(**each["installed"])}) for each in state["rests"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a state: {error!r}") from error
