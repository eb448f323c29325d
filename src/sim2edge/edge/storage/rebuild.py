"""Make the state from what is in the slots, when both of its copies are lost.

    state = rebuild_state(home / "slots", read_link(home / "current"), roots)

A slot counts if its seal proves its content. It is good if a marker beside it says that this release passed its trial
here; else it is put on trial. So no untested release is declared good, and the good one keeps its slot.
"""

from pathlib import Path

from sim2edge.edge.bundle import parse_release
from sim2edge.edge.judgement.trial import SLOTS, Installed, Slot, State, Trial
from sim2edge.edge.storage.durable import read_regular
from sim2edge.edge.storage.earlier import check_slot, read_mark
from sim2edge.edge.storage.seal import read_seal, release_text
from sim2edge.errors import BadInput

MAX_MARKER_BYTES = 128


def proven_marker(slots: Path, slot: Slot) -> Path:
    """Return the file with the SHA-256 of the bundle in a slot that passed its trial."""
    return slots / f"{slot}.proven"


def read_marker(slots: Path, slot: Slot) -> str | None:
    """Return the SHA-256 in a slot's marker; None: it has none that can be read."""
    try:
        return read_regular(proven_marker(slots, slot), MAX_MARKER_BYTES).decode("ascii", "replace")
    except OSError:
        return None


def read_link(link: Path) -> Slot | None:
    """Return the slot that the link `current` points at."""
    return next((slot for slot in SLOTS if link.is_symlink() and str(link.readlink()) == f"slots/{slot}"), None)


def rebuild_state(slots: Path, linked: Slot | None, roots: list[bytes]) -> State:
    """Return the state that the slots themselves tell.

    Args:
        slots: the folder of the slots.
        linked: the slot that was to run, preferred to the other one.
        roots: the root metadata that this device trusts.

    Raises:
        OSError: memory or descriptors are short: nothing is known about the slots.
    """
    found: dict[Slot, Installed] = {}
    proven: set[Slot] = set()
    for slot in SLOTS:
        try:
            installed = read_installed(slots, slot, roots)
            check_slot(slots, slot, installed, roots)
        except (BadInput, KeyError):
            continue
        found[slot] = installed
        if read_marker(slots, slot) == installed.sha256:
            proven.add(slot)
    order = sorted(found, key=lambda slot: (slot not in proven, slot != linked, slot))
    first = order[0] if order else None
    if first is None or first in proven:
        return State(slots=found, proven=frozenset(proven), active=first)
    return State(slots=found, trial=Trial(first, number=1), trials=1)


def read_installed(slots: Path, slot: Slot, roots: list[bytes]) -> Installed:
    """Return what a slot says that it holds.

    Raises:
        BadInput: it has neither a seal that counts nor a mark.
        KeyError: its seal has no SHA-256.
    """
    if mark := read_mark(slots, slot):
        return mark.installed
    target = read_seal(slots / f"{slot}.seal", roots)
    return Installed(parse_release(release_text(target).encode()).id, target.hashes["sha256"])
