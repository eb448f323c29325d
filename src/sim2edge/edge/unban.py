"""Lift bans at the device itself: leave a request, which the agent takes, or change the state if none runs.

    unban(home, runtime, ["5f1e..."])       # the command line
    take_requests(slots, runtime)           # the agent, several times a second

A release is named by its id or by the first digits of the SHA-256 of its bundle, an agent (`pi/launcher.py`) by its
version or its package's.
"""

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from sim2edge.edge.events import log
from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.trial import State
from sim2edge.edge.pi import launcher
from sim2edge.edge.storage.durable import read_regular, remove_any, write_durably
from sim2edge.edge.storage.home import RuntimeFolder, is_locked
from sim2edge.edge.storage.slots import Slots
from sim2edge.edge.storage.state_file import StateFile
from sim2edge.errors import BadInput, Unavailable

REQUEST, AGENTS = "unban.json", "agents"
MAX_REQUEST_BYTES = 64 * 1024
PATIENCE_S = 10.0


def held_releases(state: State) -> dict[str, str]:
    """Return the release of each SHA-256 that is banned or at rest."""
    held = [each.installed for each in state.bans] + [each.installed for each in state.rests]
    return {each.sha256: each.release for each in held}


def find_hashes(held: Mapping[str, str], name: str | None) -> list[str]:
    """Return the SHA-256 of the bundles and packages that a name means, None: of all that are held back.

    Args:
        held: SHA-256 to release or version of what is banned or at rest.
        name: one of these, or the first digits of the SHA-256.

    Raises:
        BadInput: none of those is held back.
    """
    if name == "":
        raise BadInput("release '': give its id or the first digits of its bundle's SHA-256, or --all")
    found = [sha256 for sha256, known in held.items() if name in (None, known) or sha256.startswith(str(name))]
    if not found and name is not None:
        known = ", ".join(sorted(f"{known} ({sha256[:12]})" for sha256, known in held.items())) or "none"
        raise BadInput(f"release '{name}' is not held back on this device; those that are: {known}")
    return found


def unban(home: Path, name: str | None) -> list[str]:
    """Have a device try releases and agents again; return the SHA-256 of their bundles and packages.

    Args:
        home: its folder.
        name: release id, version of an agent, or first digits of the SHA-256; None: all.

    Raises:
        BadInput: no such release is held back, or no device has run there.
        Unavailable: the agent runs, but does not take the request.
    """
    state = StateFile(home).read()
    if state is None:
        raise BadInput(f"{home}: no state of a device: none has run here")
    record = launcher.read_record(home / AGENTS)
    hashes = find_hashes(held_releases(state) | {each.sha256: each.version for each in record.failures}, name)
    if not hashes:
        return hashes
    if not is_locked(home):
        Slots(home).apply(lambda state: trial.unban(state, hashes))
        if (freed := launcher.unban(record, hashes)) != record:
            launcher.write_record(home / AGENTS, freed)
        return hashes
    path = leave_request(home, RuntimeFolder(home), hashes)
    deadline = time.monotonic() + PATIENCE_S
    while path.exists():
        if time.monotonic() > deadline:
            raise Unavailable(f"{path}: the agent does not take the request")
        time.sleep(0.05)
    return hashes


def leave_request(home: Path, runtime: RuntimeFolder, hashes: Sequence[str]) -> Path:
    """Write a request for the agent; return its path, which vanishes when the agent has taken it."""
    data = json.dumps({"unban": list(hashes)}).encode()
    try:
        write_durably(home / REQUEST, data)
        return home / REQUEST
    except OSError:
        path = runtime.make() / REQUEST
        write_durably(path, data)
        return path


def take_requests(slots: Slots, runtime: RuntimeFolder, unban_agents: Callable[[Collection[str]], None]) -> bool:
    """Do what was asked for; return whether there was anything.

    A request that cannot be removed is not done: it would be done again and again, and lift later bans.
    """
    done = False
    for path in [folder / REQUEST for folder in (slots.home, *runtime.existing())]:
        if not path.exists():
            continue
        try:
            hashes = [str(each) for each in json.loads(read_regular(path, MAX_REQUEST_BYTES))["unban"]]
        except (OSError, ValueError, KeyError, TypeError):
            hashes = []
        try:
            remove_any(path)  # first: one that stays, on a card gone read-only, would lift every later ban as well
        except OSError:
            continue
        slots.apply(lambda state, hashes=hashes: trial.unban(state, hashes), must_last=False)  # type: ignore[misc]
        unban_agents(hashes)
        log("unbanned", sha256=hashes)
        done = True
    return done
