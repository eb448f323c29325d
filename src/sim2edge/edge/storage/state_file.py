"""Keep a device's state in two files, each with a counter and a checksum, so that no single damage loses it.

    store = StateFile(home)
    state = store.read()            # None: both are missing or damaged
    store.write(state)              # one after the other

A write replaces one copy, flushed to disk, and then the other one, so that one is whole at every moment, and neither is
needed. The file `state.json` of homes that earlier agents made is read once.
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sim2edge.edge.judgement.trial import Ban, Installed, Rest, State, Trial
from sim2edge.edge.storage.durable import is_shortage, read_regular, remove_any, write_durably

NAMES = ("state-0.json", "state-1.json")
EARLIER_NAME = "state.json"
MAX_BYTES = 256 * 1024


class StateFile:
    """The two copies in one home folder; not safe to share between threads."""

    def __init__(self, home: Path) -> None:
        self._paths = [home / name for name in NAMES]
        self._earlier = home / EARLIER_NAME
        self._counter = 0
        self._next = self._paths[0]

    def read(self) -> State | None:
        """Return the newest state that is whole; None if there is none.

        Raises:
            OSError: memory or descriptors are short: nothing is known about the copies.
        """
        found: list[tuple[int, State, Path]] = []
        for path in self._paths:
            try:
                counter, state = decode(read_regular(path, MAX_BYTES))
            except OSError as error:
                if is_shortage(error):
                    raise
                continue
            except ValueError:
                continue
            found.append((counter, state, path))
        if not found:
            return None
        self._counter, state, newest = max(found, key=lambda each: each[0])
        (self._next,) = (path for path in self._paths if path != newest)
        return state

    def keep(self, state: State) -> None:
        """Write each copy again that is missing, damaged or another one than the state that was written last.

        Raises:
            OSError: it could not be written.
        """
        data = encode(self._counter, state)
        for path in self._paths:
            if self._counter and _content(path) != data:
                write_durably(path, data)

    def read_earlier(self) -> State | None:
        """Return the state that an earlier agent left, if it is whole and there is no newer one."""
        if any(os.path.lexists(path) for path in self._paths):
            return None
        try:
            return decode_earlier(read_regular(self._earlier, MAX_BYTES))
        except (OSError, ValueError):
            return None

    def write(self, state: State) -> None:
        """Write a state.

        Raises:
            OSError: it could not be written; the copies before it are whole.
        """
        data = encode(self._counter + 1, state)
        write_durably(self._next, data)
        self._counter += 1
        (self._next,) = (path for path in self._paths if path != self._next)
        with suppress(OSError):  # there is one copy; `keep` makes the other one
            write_durably(self._next, data)
            remove_any(self._earlier)


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_BYTES)
    except OSError:
        return b""


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
            trials=int(state["trials"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a state: {error!r}") from error


def decode_earlier(data: bytes) -> State:
    """Return the state that an earlier agent wrote; its bans, which had no end and no cause, are lifted.

    Raises:
        ValueError: the data is damaged.
    """
    try:
        stored: dict[str, Any] = json.loads(data)
        active = stored["active"]
        return State(
            slots={slot: Installed(held["release"], held["sha256"]) for slot, held in stored["slots"].items()},
            proven=frozenset({active} if active else ()),
            active=active,
            trial=Trial(stored["trial"]["slot"], number=1) if stored["trial"] else None,
            trials=1,
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a state: {error!r}") from error
