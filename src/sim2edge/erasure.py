"""Erase a withdrawn batch: delete the bytes of everything that derives from it, and keep a proof of what was deleted.

    targets = find_targets(bus, batch, derived, keep_models=False)
    for target in targets:
        erase(bus, target, event)

Each target is erased on its own: first its record, `withdrawn/erased/<what>.json` with every file and its SHA-256, then
the objects. The manifest is kept. What is left is found by listing, so a run that was killed anywhere is completed by
the next one, and one that has nothing left to do changes nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sim2edge.bus import Bus, in_threads
from sim2edge.catalog import Record
from sim2edge.errors import BadInput, Missing
from sim2edge.inbox import READY, find_ready, parse_ready
from sim2edge.manifest import MEASUREMENTS, Manifest
from sim2edge.notes import note_key
from sim2edge.stages import kinds
from sim2edge.tombstone import ErasedFile, Erasure, Event, erasure_key, parse_erasure

WEIGHTS = ("model", "release")
"""Kinds that hold what was learned from a batch, and a few pictures for self-tests; `keep_models` keeps them."""
POINTERS = ("rollout",)
"""Kinds that hold neither: a rollout names a release and its SHA-256."""
BUNDLES = "ota/targets/releases"
MAX_AT_ONCE = 500
"""Objects that one request deletes; S3 accepts 1000."""
GRACE = timedelta(hours=24)
"""Age of the leftovers of a killed run that are erased: younger ones may be those of a run that still works."""


@dataclass(frozen=True)
class Target:
    """What one record covers: an artifact, what was copied of it elsewhere, or a delivery."""

    what: str
    """Reference of the artifact, `inbox/<batch>`, or `leftovers/<reference>` of what was never committed: a later run
    may still commit an artifact of that reference, which is not erased."""
    keys: Sequence[str]
    """The objects that are still there, sorted."""
    known: Mapping[str, ErasedFile]
    """Objects whose size and SHA-256 a manifest or a listing gives, by key, deleted ones included."""


# Pure


def to_erase(derived: Iterable[Record], keep_models: bool) -> list[str]:
    """Return the references of the artifacts to erase, among those that derive from the batch."""
    kept = {*POINTERS, *(WEIGHTS if keep_models else ())}
    return [record.reference for record in derived if record.kind not in kept]


def files_of(manifest: Manifest) -> dict[str, ErasedFile]:
    """Return the objects that a manifest lists, by key."""
    folder = f"{manifest.reference}/{manifest.attempt}"
    payload = [(f"{folder}/{file.path}", file) for file in manifest.files]
    measured = [(f"{folder}/{MEASUREMENTS}/{file.path}", file) for file in manifest.measurements]
    return {key: ErasedFile(key=key, bytes=file.bytes, sha256=file.sha256) for key, file in (*payload, *measured)}


def tracked_folder(manifest: Manifest) -> str | None:
    """Return the folder of the bucket where MLflow keeps its copy of a model; None if the run was not tracked."""
    where = manifest.summary.get("mlflow")
    words = [where.get(name) for name in ("experiment", "run")] if isinstance(where, dict) else []
    return f"mlflow/{words[0]}/{words[1]}" if words and all(is_plain(word) for word in words) else None


def is_plain(word: object) -> bool:
    """Return whether a word of a summary may be part of a key to delete."""
    return isinstance(word, str) and word.isalnum()


# Finding


def find_targets(bus: Bus, batch: str, derived: Sequence[Record], *, keep_models: bool) -> list[Target]:
    """Return everything to erase, what is erased already included.

    Args:
        bus: the bucket.
        batch: the batch.
        derived: the records of the artifacts that derive from it.
        keep_models: keep models and releases.
    """
    bundles = list(bus.list(BUNDLES))
    found = in_threads(lambda name: find_artifact(bus, name, bundles), to_erase(derived, keep_models))
    return [find_delivery(bus, batch), *find_leftovers(bus, batch, datetime.now(UTC)), *found]


def find_artifact(bus: Bus, reference: str, bundles: Sequence[str] = ()) -> Target:
    """Return an artifact's objects: payload, checkpoints, note, MLflow's copy, the bundle that devices download."""
    manifest = bus.find(reference)
    keys = [key for key in bus.list(reference) if key != f"{reference}/manifest.json"]
    if manifest and (folder := tracked_folder(manifest)):
        keys += bus.list(folder)
    if bus.size(note_key(reference)) is not None:
        keys.append(note_key(reference))
    if manifest and manifest.kind == "release":
        keys += [key for key in bundles if key.endswith((f".{manifest.id}.tar", f".{manifest.id}.tar.zst"))]
    return Target(reference, sorted(keys), files_of(manifest) if manifest else {})


def find_delivery(bus: Bus, batch: str) -> Target:
    """Return the batch's files in the inbox; `READY.json` is deleted with them, the record names them all."""
    folder = f"inbox/{batch}"
    known: dict[str, ErasedFile] = {}
    try:
        listing = find_ready(bus, batch)
        if listing:
            ready = parse_ready(listing, batch)
            listed = {ready.key(file): file for file in ready.files}
            known = {key: ErasedFile(key=key, bytes=file.bytes, sha256=file.sha256) for key, file in listed.items()}
    except BadInput:  # an invalid listing: its files are hashed
        known = {}
    keys = sorted(bus.list(folder), key=lambda key: (key.endswith(f"/{READY}"), key))
    return Target(folder, keys, {key: file for key, file in known.items() if key in keys})


def find_leftovers(bus: Bus, batch: str, now: datetime) -> list[Target]:
    """Return what killed runs left: objects without a manifest.

    Those filed under the batch are its data. Those filed under a later one may be: which inputs a run had that
    committed nothing is not recorded, so all are returned that are older than `GRACE`, as `sim2edge gc` deletes them.
    """
    folders = [f"{kind}/{each}" for kind in kinds() for each in bus.folders(kind) if each >= batch]
    names = [f"{folder}/{name}" for folder in folders for name in bus.folders(folder)]
    sizes = in_threads(lambda name: bus.size(f"{name}/manifest.json"), names)
    uncommitted = [name for name, size in zip(names, sizes, strict=True) if size is None]
    old = [name for name in uncommitted if name.split("/")[1] == batch or _is_old(bus, name, now)]
    return [Target(f"leftovers/{name}", sorted(bus.list(name)), {}) for name in old]


def _is_old(bus: Bus, name: str, now: datetime) -> bool:
    return all(now - head.modified > GRACE for key in bus.list(name) if (head := bus.head(key)))


# Erasing


def erase(bus: Bus, target: Target, batch: str, event: Event) -> int:
    """Write the target's record, then delete its objects; return how many there were."""
    if not target.keys and bus.size(erasure_key(target.what)) is not None:
        return 0
    if not target.keys and not target.known:
        return 0
    listed = {**target.known, **_describe(bus, [key for key in target.keys if key not in target.known])}
    write_record(bus, target.what, batch, event, listed)
    for start in range(0, len(target.keys), MAX_AT_ONCE):
        bus.delete(target.keys[start : start + MAX_AT_ONCE])
    return len(target.keys)


def _describe(bus: Bus, keys: Sequence[str]) -> dict[str, ErasedFile]:
    """Read the objects that nothing lists, and return size and SHA-256 of each; one that is gone is left out."""

    def describe(key: str) -> ErasedFile | None:
        found, size = hashlib.sha256(), 0
        try:
            for chunk in bus.stream(key):
                found.update(chunk)
                size += len(chunk)
        except Missing:
            return None
        return ErasedFile(key=key, bytes=size, sha256=found.hexdigest())

    return {file.key: file for file in in_threads(describe, keys) if file}


def write_record(bus: Bus, what: str, batch: str, event: Event, files: Mapping[str, ErasedFile]) -> Erasure:
    """Write the record of an erasure; one that exists keeps its reason and gets the files that it lacks.

    Raises:
        Conflict: another run is erasing the same.
    """
    found = bus.get_tagged(erasure_key(what))
    if found is None:
        made = Erasure(
            what=what, batch=batch, reason=event.reason, by=event.by, at=event.at, files=sort_files(files.values())
        )
        bus.put(erasure_key(what), made.to_json(), only_new=True)
        return made
    before = parse_erasure(found[0], what)
    lacking = [file for file in files.values() if file not in before.files]
    if not lacking:
        return before
    made = before.model_copy(update={"files": sort_files([*before.files, *lacking])})
    bus.put(erasure_key(what), made.to_json(), if_tag=found[1])
    return made


def sort_files(files: Iterable[ErasedFile]) -> tuple[ErasedFile, ...]:
    """Return files by key."""
    return tuple(sorted(files, key=lambda file: (file.key, file.sha256)))


def erase_all(bus: Bus, batch: str, targets: Sequence[Target], event: Event) -> int:
    """Erase every target; return the number of objects deleted."""
    return sum(erase(bus, target, batch, event) for target in targets)


def erased_names(bus: Bus) -> frozenset[str]:
    """Return the references of all erased artifacts, and `inbox/<batch>` of erased deliveries, by one listing."""
    folder = erasure_key("").removesuffix(".json")
    return frozenset(key.removeprefix(folder).removesuffix(".json") for key in bus.list(folder.rstrip("/")))
