"""Tell a status that was sent again, and two devices with one id, from what was seen of the device before. Pure.

    word, after = look(before, public_key, signed, now, written)

Runs of one device follow one another: a run that reports again after a later one did is a second device with the same
key, such as a copied card, or, if it says nothing new, an old status that was sent again. The newest status, sent
again, is no sign of life: `moved` says since when the device has said nothing new.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from sim2edge.bus import Bus
from sim2edge.enrol.signed_status import Signed
from sim2edge.errors import Corrupt

SEEN = "devices/seen.json"
"""What was seen of every enrolled device; written by Airflow's task that watches the fleet, and by the admin."""
RUNS_KEPT = 4
DUPLICATE_FOR = timedelta(hours=24)
"""How long a device stays a duplicate after the other one was last seen."""


class Word(StrEnum):
    """Whether a status is the device's own."""

    VERIFIED = "verified"
    NOT_ENROLLED = "not enrolled"
    UNSIGNED = "unsigned"
    FORGED = "forged"
    REPLAYED = "replayed"
    DUPLICATE = "duplicate"
    REVOKED = "revoked"


class Sighting(BaseModel):
    """The newest that was seen of a device."""

    model_config = ConfigDict(frozen=True)

    key: str
    word: Word
    start: int = 0
    run: str = ""
    counter: int = 0
    others: dict[str, int] = {}
    """Earlier runs to their last counter, the latest last."""
    moved: AwareDatetime | None = None
    """When the server got the status with this counter for the first time."""
    duplicate: AwareDatetime | None = None
    """When two runs were last seen to alternate."""


Seen = Mapping[str, Sighting]


def look(before: Sighting | None, key: str, signed: Signed, now: datetime, written: datetime) -> tuple[Word, Sighting]:
    """Return what a verified status is, and what is to be remembered of it.

    Args:
        before: what was remembered; None: nothing.
        key: the public key that it was verified by; another one than before starts anew.
        signed: the status.
        now: the server's time.
        written: the server's time at which it got the status.
    """
    if before is None or before.key != key or not before.run:
        return _remember(Sighting(key=key, word=Word.VERIFIED), signed, Word.VERIFIED, written)
    known = before.counter if signed.run == before.run else before.others.get(signed.run)
    if known is None:
        if signed.start < before.start:  # an earlier run of which nothing was seen, or another device's
            others = _last({**before.others, signed.run: signed.counter})
            return Word.REPLAYED, before.model_copy(update={"word": Word.REPLAYED, "others": others})
        return _remember(before, signed, _word_of(before, now), written)
    if signed.run == before.run and signed.counter >= known:
        return _remember(before, signed, _word_of(before, now), written)
    if signed.run != before.run and signed.counter > known:
        return _remember(before.model_copy(update={"duplicate": now}), signed, Word.DUPLICATE, written)
    return Word.REPLAYED, before.model_copy(update={"word": Word.REPLAYED})


def _word_of(before: Sighting, now: datetime) -> Word:
    recent = before.duplicate is not None and now - before.duplicate < DUPLICATE_FOR
    return Word.DUPLICATE if recent else Word.VERIFIED


def _remember(before: Sighting, signed: Signed, word: Word, written: datetime) -> tuple[Word, Sighting]:
    others = {run: counter for run, counter in before.others.items() if run != signed.run}
    if before.run and before.run != signed.run:
        others[before.run] = before.counter
    same = (signed.run, signed.counter) == (before.run, before.counter)
    news = {"start": signed.start, "run": signed.run, "counter": signed.counter, "others": _last(others), "word": word}
    return word, before.model_copy(update=news | {"moved": (same and before.moved) or written})


def _last(others: Mapping[str, int]) -> dict[str, int]:
    return dict(list(others.items())[-RUNS_KEPT:])


class SeenFile(BaseModel):
    """The content of `devices/seen.json`."""

    devices: dict[str, Sighting] = {}


def read_seen(bus: Bus) -> tuple[Seen, str | None]:
    """Return what was seen of each device, and the file's tag for a swap; nothing and None if there is no file.

    Raises:
        Corrupt: the file is invalid.
    """
    found = bus.get_tagged(SEEN)
    if found is None:
        return {}, None
    try:
        return SeenFile.model_validate_json(found[0]).devices, found[1]
    except (ValidationError, ValueError) as error:
        raise Corrupt(f"{SEEN}: not a record of what was seen of devices: delete it, and it starts anew") from error


def write_seen(bus: Bus, seen: Seen, tag: str | None) -> None:
    """Write what was seen, unless another writer did meanwhile.

    Raises:
        Conflict: another writer did.
    """
    content = SeenFile(devices=dict(sorted(seen.items()))).model_dump(mode="json", exclude_defaults=True)
    bus.put(SEEN, json.dumps(content).encode(), only_new=tag is None, if_tag=tag)
