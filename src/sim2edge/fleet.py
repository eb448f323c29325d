"""Read the status of devices, for people and pages: `fleet/<device id>/status.json` on the bus.

    read_device(bus, "virtual-pi-1").release

A device writes its own status, so it is treated as untrusted: limited in size, validated, and, if the device is
enrolled, verified: signed by the device's key, newer than what was seen of it before. Whether a device is silent is
judged by the server's clock alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

from sim2edge.access import DEVICE
from sim2edge.bus import Bus, in_threads
from sim2edge.enrol.register import Record, Records, read_register
from sim2edge.enrol.sightings import Seen, Sighting, Word, look, read_seen, write_seen
from sim2edge.enrol.signed_status import MAX_BYTES, Forged, NotSigned, open_envelope, parse, status_of
from sim2edge.errors import Conflict, Corrupt, NotFound

RUNNING = "running"
"""State of a device whose release has passed its trial."""
UNREADABLE = "unreadable"
"""State shown for a device whose status is invalid."""
DOUBTFUL = (Word.UNSIGNED, Word.FORGED, Word.REPLAYED)
"""What makes a status worthless: nothing of it is shown or counted."""
EXPLAINED = {
    Word.UNSIGNED: "its status is not signed, although the device is enrolled",
    Word.FORGED: "its status is not signed by the key of this device",
    Word.REPLAYED: "its status is older than one seen before: someone sent it again",
    Word.DUPLICATE: "two devices report with this id and its key: revoke it, and enrol each with an id of its own",
}

Text = Annotated[str, StringConstraints(max_length=2000)]


class Failure(BaseModel):
    """A release that failed its trial."""

    model_config = ConfigDict(frozen=True)

    release: Text | None = None
    reason: Text = ""


class Report(BaseModel):
    """What a device says of itself; see docs/data-format.md for its fields."""

    model_config = ConfigDict(frozen=True)

    device: Text
    ring: Text | None = None
    release: Text | None = None
    previous: Text | None = None
    state: Text = "unknown"
    inferences: int = 0
    errors: int = 0
    restarts: int = 0
    latency_ms_p50: float | None = None
    message: Text | None = None
    failure: Failure | None = None
    updated: AwareDatetime | None = None


class Device(Report):
    """The status of one device, with what the server knows of it."""

    identity: Word = Word.NOT_ENROLLED
    """Whether the status is the device's own."""
    reported: AwareDatetime | None = None
    """When the server got the status, by its own clock; of one that was sent again: the first time."""
    silent_s: float | None = None
    """Seconds from then to when it was read, by the server's clock; None: the server did not say."""

    @property
    def had(self) -> Sequence[str]:
        """The releases that it reports besides the one that it runs: of the other slot, and of a failed trial."""
        return [each for each in (self.previous, self.failure and self.failure.release) if each]

    @property
    def unclear(self) -> bool:
        """Whether it may run another release than the status says, as nobody knows what it runs."""
        return self.state == UNREADABLE or self.identity in EXPLAINED

    def runs(self, release: str) -> bool:
        """Return whether a release has passed its trial on the device and has made inferences."""
        return self.release == release and self.state == RUNNING and self.inferences > 0


@dataclass(frozen=True)
class Known:
    """What the server knows of devices when their status is read."""

    records: Records
    seen: Seen
    now: datetime | None
    """The server's time."""

    @classmethod
    def read(cls, bus: Bus) -> "Known":
        """Read it, by three requests.

        Raises:
            Corrupt: the register, or the record of what was seen, is invalid.
        """
        return cls(read_register(bus), read_seen(bus)[0], bus.server_time())


def list_devices(bus: Bus) -> Sequence[str]:
    """Return the ids of all devices that ever wrote a status, sorted; one request for each thousand devices."""
    return [name for name in bus.folders("fleet") if DEVICE.fullmatch(f"device-{name}")]


def read_device(bus: Bus, device: str, known: Known | None = None) -> Device:
    """Return the status of a device.

    Args:
        bus: the bucket.
        device: its id.
        known: what the server knows; None: it is read.

    Raises:
        NotFound: the id is invalid, or it has no status.
        Corrupt: its status is invalid.
    """
    return _read(bus, device, known or Known.read(bus))[0]


def _read(bus: Bus, device: str, known: Known) -> tuple[Device, Sighting | None]:
    if not DEVICE.fullmatch(f"device-{device}"):
        raise NotFound(f"'{device[:80]}' is not the id of a device: a-z, 0-9 and '-', at most 63")
    key = f"fleet/{device}/status.json"
    content, head = bus.peek(key, MAX_BYTES)
    try:
        found, sighting = judge(device, content, known, head.modified)
    except (ValidationError, ValueError, RecursionError) as error:
        raise Corrupt(f"{key}: not the status of a device") from error
    said = sighting.moved if sighting and sighting.moved and found.identity is Word.VERIFIED else head.modified
    passed_s = max(0.0, (known.now - said).total_seconds()) if known.now else None
    return found.model_copy(update={"reported": said, "silent_s": passed_s}), sighting


def judge(device: str, content: bytes, known: Known, written: datetime) -> tuple[Device, Sighting | None]:
    """Return what a status says, as far as it is to be believed, and what is to be remembered of an enrolled device.

    Raises:
        ValueError: it is invalid, and the device is not enrolled.
    """
    record = known.records.get(device)
    if record is None:
        return _device(device, status_of(parse(content))), None
    if record.revoked:
        since = f"revoked on {record.revoked:%Y-%m-%d}: {record.reason}"
        return Device(device=device, state=Word.REVOKED, identity=Word.REVOKED, message=since), None
    before = known.seen.get(device)
    try:
        signed = open_envelope(parse(content), record.public_key, device)
        word, sighting = look(before, record.public_key, signed, known.now or written, written)
        said = None if word in DOUBTFUL else _device(device, signed.status)
    except NotSigned:
        word, sighting, said = Word.UNSIGNED, _note(before, record, Word.UNSIGNED), None
    except (Forged, ValidationError, ValueError, RecursionError):
        word, sighting, said = Word.FORGED, _note(before, record, Word.FORGED), None
    base = said or Device(device=device)
    news: dict[str, Any] = {"ring": record.ring, "identity": word}
    if word in EXPLAINED:
        news |= {"state": str(word), "message": EXPLAINED[word]}
    return base.model_copy(update=news), sighting


def _device(device: str, content: Any) -> Device:
    report = Report.model_validate(content)
    return Device(**{**dict(report), "device": device})


def _note(before: Sighting | None, record: Record, word: Word) -> Sighting:
    same = before if before and before.key == record.public_key else Sighting(key=record.public_key, word=word)
    return same.model_copy(update={"word": word})


def read_fleet(bus: Bus, devices: Sequence[str]) -> Sequence[Device]:
    """Return the status of several devices; the state of one whose status is invalid is `UNREADABLE`.

    Raises:
        Corrupt: the register, or the record of what was seen, is invalid.
    """
    known = Known.read(bus)
    return [found for found, _ in _read_all(bus, devices, known)]


def _read_all(bus: Bus, devices: Sequence[str], known: Known) -> list[tuple[Device, Sighting | None]]:
    def read(device: str) -> tuple[Device, Sighting | None]:
        try:
            return _read(bus, device, known)
        except Corrupt as error:
            return Device(device=device, state=UNREADABLE, message=str(error)), None

    return in_threads(read, devices)


@dataclass(frozen=True)
class Watched:
    """The enrolled devices whose status is not their own."""

    doubtful: Sequence[Device]
    news: Sequence[Device]
    """Those that became doubtful since the last look."""


def watch_fleet(bus: Bus) -> Watched:
    """Look at every enrolled device, remember what was seen, and return those whose identity is doubtful.

    Raises:
        Corrupt: the register, or the record of what was seen, is invalid.
    """
    seen, tag = read_seen(bus)
    known = Known(read_register(bus), seen, bus.server_time())
    present = set(list_devices(bus))
    names = [name for name, record in known.records.items() if not record.revoked and name in present]
    pairs = _read_all(bus, names, known)
    after = {device.device: sighting for device, sighting in pairs if sighting}
    kept = {name: each for name, each in seen.items() if name in known.records and not known.records[name].revoked}
    doubtful = [each for each, _ in pairs if each.identity in EXPLAINED]
    if {**kept, **after} != seen:
        try:
            write_seen(bus, {**kept, **after}, tag)
        except Conflict:  # another watcher saw it first, and tells
            return Watched(doubtful, [])
    before = {name: each.word for name, each in kept.items() if each.key == known.records[name].public_key}
    return Watched(doubtful, [each for each in doubtful if before.get(each.device) != each.identity])
