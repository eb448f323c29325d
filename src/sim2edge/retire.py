"""Retire artifacts: delete their payload, keep the manifest as a record. `retention.py` decides which.

    situation = survey(bus)                                     records, what is live, each batch's own artifacts
    retire(bus, removal, "ann", now)

An artifact is retired in an order in which it may be interrupted anywhere: first the record
`withdrawn/retired/<reference>.json`, then the refs of its batch that name it, its manifest, its entry in the catalog,
its payload. Once the manifest is gone the artifact counts as never made: a run that needs it makes it again, under the
same id. What an interruption leaves of the payload is deleted by `sim2edge gc`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sim2edge.alternates import FOLDER as ALTERNATES
from sim2edge.alternates import own_refs
from sim2edge.bus import RETIRED, Bus, Ref, in_threads
from sim2edge.catalog import Catalog, Record
from sim2edge.errors import Corrupt
from sim2edge.fleet import Device, list_devices, read_fleet
from sim2edge.manifest import Manifest, entry_key, split_reference
from sim2edge.notes import starred
from sim2edge.retention import Removal, RetentionPolicy, choose, protect
from sim2edge.tombstone import ERASED


@dataclass(frozen=True)
class Situation:
    """What the decision depends on."""

    records: Sequence[Record]
    kept: frozenset[str]
    """References that must stay."""
    owned: Mapping[str, str]
    """`<kind>/<batch>` to the reference of the batch's own artifact."""

    def choose(self, policy: RetentionPolicy, now: datetime) -> Sequence[Removal]:
        """Return what the policy retires."""
        return choose(self.records, self.kept, policy, self.owned, now)


def survey(bus: Bus, now: datetime) -> Situation:
    """Read the catalog, the refs, the devices and the stars.

    Raises:
        Corrupt: a ref names no artifact: something live might be missed.
    """
    catalog = Catalog(bus)
    catalog.refresh()
    records = list(catalog.records())
    refs = bus.list_refs()
    erased = {key.removeprefix(f"{ERASED}/").removesuffix(".json") for key in bus.list(ERASED)}
    kept = protect(records, [*live_refs(refs), *on_devices(bus, records), *starred(bus)], now)
    return Situation(records, frozenset(kept | erased), find_owned(refs))


def live_refs(refs: Sequence[Ref]) -> list[str]:
    """Return what refs keep alive: all but those of batches; what a ring and the champion had before can come back.

    Raises:
        Corrupt: a ref names no artifact.
    """
    of_batches = tuple(pattern.partition("{")[0] for pattern in own_refs().values())
    found: list[str] = []
    for ref in refs:
        if not ref.name.startswith((*of_batches, f"{ALTERNATES}/")):
            found += [ref.artifact, *([ref.previous] if ref.previous else [])]
    return found


def on_devices(bus: Bus, records: Sequence[Record]) -> list[str]:
    """Return the releases that a device runs, or would go back to; see `find_used`."""
    return find_used(records, read_fleet(bus, list_devices(bus)))


def find_used(records: Sequence[Record], devices: Sequence[Device]) -> list[str]:
    """Return the releases that a device runs, or would go back to; all of them if it is unclear what a device runs."""
    releases = {record.id: record.reference for record in records if record.kind == "release"}
    if any(device.unclear for device in devices):
        return list(releases.values())
    used = {release for device in devices for release in (device.release, device.previous)}
    return [reference for identity, reference in releases.items() if identity in used]


def find_owned(refs: Sequence[Ref]) -> dict[str, str]:
    """Return the reference of each batch's own artifact, by `<kind>/<batch>`."""
    folders = {pattern.partition("{")[0]: kind for kind, pattern in own_refs().items()}
    return {
        f"{kind}/{ref.name.removeprefix(folder)}": ref.artifact
        for ref in refs
        for folder, kind in folders.items()
        if ref.name.startswith(folder)
    }


def retire(bus: Bus, removal: Removal, by: str, now: datetime) -> int:
    """Retire an artifact; return the number of objects deleted. Does nothing when it is gone already."""
    manifest = bus.find(removal.reference)
    if manifest is None:
        return 0
    record = {
        "reference": removal.reference,
        "why": removal.why,
        "by": by,
        "at": now.astimezone(UTC).isoformat(timespec="seconds"),
        "manifest": manifest.model_dump(mode="json"),
    }
    bus.put(f"{RETIRED}/{removal.reference}.json", json.dumps(record, indent=1).encode())
    bus.delete([ref.name for ref in refs_of_batch(bus, manifest) if ref.target == removal.reference])
    bus.delete([f"{removal.reference}/manifest.json", entry_key(removal.reference, manifest.finished)])
    payload = list(bus.list(removal.reference))
    bus.delete(payload)
    return len(payload) + 2


@dataclass(frozen=True)
class Retired:
    """The record of a retired artifact."""

    reference: str
    bytes: int
    why: str
    by: str
    at: datetime


def parse_retired(data: bytes) -> Retired:
    """Read the record of a retired artifact.

    Raises:
        Corrupt: it is not one.
    """
    try:
        content = json.loads(data)
        manifest = Manifest.model_validate(content["manifest"])
        then = datetime.fromisoformat(content["at"]).astimezone(UTC)
        return Retired(manifest.reference, manifest.size, str(content["why"]), str(content["by"]), then)
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{RETIRED}: not the record of a retired artifact") from error


def refs_of_batch(bus: Bus, manifest: Manifest) -> list[Ref]:
    """Return the refs that may name an artifact of a batch: its own, and those of alternates."""
    kind, batch, _ = split_reference(manifest.reference)
    own = bus.read_ref(own_refs()[kind].format(partition=batch)) if kind in own_refs() else None
    return [*([own] if own else []), *bus.list_refs(f"{ALTERNATES}/{kind}/{batch}")]


def retire_all(bus: Bus, removals: Sequence[Removal], by: str, now: datetime) -> int:
    """Retire artifacts; return the number of objects deleted."""
    return sum(in_threads(lambda removal: retire(bus, removal, by, now), removals))
