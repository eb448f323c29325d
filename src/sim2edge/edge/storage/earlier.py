"""Take over the home of an agent before seals: prove by its own files what the signed metadata names no more.

    take_over(home, state)                                  # once, before the state is stored in its new form
    bundle = check_slot(home / "slots", "a", installed, roots)

The earlier agent stored what the server named last, which need not be what it runs: it may have been rolled back. Such
a release gets a mark with the hash of its `release.json` as it was taken over, and counts as whole while that and every
file it names are the same, until something else is written into its slot.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, TargetFile, Targets

from sim2edge.edge.bundle import RELEASE_FILE, Bundle, check_files
from sim2edge.edge.judgement.trial import Installed, Slot, State
from sim2edge.edge.storage.durable import is_shortage, read_regular, remove_any, write_durably
from sim2edge.edge.storage.seal import (
    MAX_RELEASE_BYTES,
    MAX_SEAL_BYTES,
    check_seal,
    check_shape,
    make_seal,
    release_text,
)
from sim2edge.errors import BadInput

LEFT_OVERS = ("downloads", "targets", "service.port")
"""What only the earlier agent used."""
MAX_MARK_BYTES = 4096


@dataclass(frozen=True)
class Mark:
    """What a slot held when its home was taken over."""

    installed: Installed
    description: str
    """SHA-256 of its `release.json`."""


def mark_file(slots: Path, slot: Slot) -> Path:
    """Return the file with the mark of a slot."""
    return slots / f"{slot}.earlier"


def read_mark(slots: Path, slot: Slot) -> Mark | None:
    """Return the mark of a slot; None: it has none, or is sealed.

    Raises:
        OSError: memory or descriptors are short.
    """
    if os.access(slots / f"{slot}.seal", os.F_OK):  # Path.exists raises where the folder is closed to this user
        return None
    try:
        content = json.loads(read_regular(mark_file(slots, slot), MAX_MARK_BYTES))
        return Mark(Installed(str(content["release"]), str(content["sha256"])), str(content["description"]))
    except OSError as error:
        if is_shortage(error):
            raise
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def check_slot(slots: Path, slot: Slot, installed: Installed, roots: Iterable[bytes]) -> Bundle:
    """Check that a slot holds the release that it should, by its seal or, in a home that was taken over, by its mark.

    Raises:
        BadInput: it does not; the message names the file.
        OSError: memory, processes or descriptors are short: nothing is known about the slot.
    """
    mark = read_mark(slots, slot)
    if mark is None or mark.installed != installed:
        return check_seal(slots / f"{slot}.seal", slots / slot, installed, roots)
    bundle, description = read_slot(slots / slot)
    if description != mark.description:
        raise BadInput(f"{slot}/{RELEASE_FILE}: not what it was when this home was taken over")
    return bundle


def read_slot(folder: Path) -> tuple[Bundle, str]:
    """Return the release in a folder, every file of it checked by its `release.json`, and the SHA-256 of that.

    Raises:
        BadInput: it is not whole.
        OSError: memory, processes or descriptors are short.
    """
    try:
        check_shape(folder)
        description = read_regular(folder / RELEASE_FILE, MAX_RELEASE_BYTES)
        return check_files(folder), hashlib.sha256(description).hexdigest()
    except OSError as error:
        if is_shortage(error):
            raise
        raise BadInput(f"{error.filename or folder.name}: {error.strerror}") from error


def take_over(home: Path, state: State) -> None:
    """Seal or mark the slots that an earlier agent filled, and remove what nobody needs now.

    A slot that is neither named by the stored metadata nor whole stays without: that counts as damage.

    Raises:
        OSError: the disk takes nothing.
    """
    slots = home / "slots"
    data, targets = read_targets(home)
    for slot, installed in state.slots.items():
        path = next((path for path, sha256 in targets.items() if sha256 == installed.sha256), None)
        if path is not None:
            write_durably(slots / f"{slot}.seal", make_seal(data, path))
        else:
            with suppress(BadInput):
                bundle, description = read_slot(slots / slot)
                if bundle.release.id == installed.release:
                    mark = {"release": installed.release, "sha256": installed.sha256, "description": description}
                    write_durably(mark_file(slots, slot), json.dumps(mark).encode())
    for name in LEFT_OVERS:
        remove_any(home / name)


def read_targets(home: Path) -> tuple[bytes, dict[str, str]]:
    """Return the targets metadata that an earlier agent trusted last, and the SHA-256 of each release in it."""
    try:
        data = read_regular(home / "metadata" / "targets.json", MAX_SEAL_BYTES)
        targets = Metadata[Targets].from_bytes(data).signed.targets
        return data, {path: target.hashes.get("sha256", "") for path, target in targets.items() if is_sealing(target)}
    except (OSError, RepositoryError, AttributeError, ValueError):
        return b"", {}


def is_sealing(target: TargetFile) -> bool:
    """Return whether a target was signed with the text of `release.json`, which a seal needs."""
    try:
        return bool(release_text(target))
    except BadInput:
        return False
