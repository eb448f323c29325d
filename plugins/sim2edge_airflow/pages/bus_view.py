"""Cache the bus for the pages: catalog, refs and fleet, refreshed by threads, and immutable files.

A page never lists the bucket. Immutable objects (manifests, small JSON files) are fetched once and kept in an LRU
cache; a request for one times out after `PATIENCE_S`, and then further requests fail at once for `PAUSE_S`.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from sim2edge.bus import RETIRED, Bus, Ref, in_threads
from sim2edge.catalog import Catalog, Record
from sim2edge.erasure import erased_names
from sim2edge.errors import BadInput, Corrupt, Forbidden, Missing, NotFound, Unavailable
from sim2edge.fleet import Device, list_devices, read_device, read_fleet
from sim2edge.manifest import File, Manifest, split_reference
from sim2edge.notes import FOLDER as NOTES
from sim2edge.notes import Note, read_note, reference_of
from sim2edge.retire import Retired, parse_retired
from sim2edge.tombstone import Tombstone
from sim2edge.withdrawal import Withdrawn
from sim2edge_airflow.connections import connect_bus
from sim2edge_airflow.pages.watched import Watched

PATIENCE_S = 3.0
CATALOG_S, REFS_S, FLEET_S, WITHDRAWN_S, NOTES_S, RETIRED_S = 5.0, 10.0, 15.0, 15.0, 15.0, 60.0
"""Seconds between two reads of each, while pages are requested."""
REF_FOLDERS = ("refs/models", "refs/rings", "refs/datasets")
"""Folders with few refs; the refs of batches are as many as the batches."""
CHAMPION = "refs/models/champion"
MAX_DEVICES = 2000
MAX_RETIRED = 5000
MAX_NOTES = 1000
MAX_JSON_BYTES = 1 << 20
MANIFESTS_KEPT, FILES_KEPT = 128, 64
PAUSE_S = 5.0
"""Seconds after a timeout during which requests fail at once: the server has few threads."""

T = TypeVar("T")


def read_or_note(notes: list[str], read: Callable[..., T], *what: str) -> T | None:
    """Return the result of `read(*what)`; if S3 does not answer or the file is invalid, append a note, return None."""
    try:
        return read(*what)
    except (BadInput, Unavailable) as error:
        line = f"Not everything can be shown: {error}"
        notes += [] if line in notes else [line]
        return None


class BusView:
    """The cached view of the bus: one per server process, safe to share between threads."""

    def __init__(self, connect: Callable[[], Bus] = lambda: connect_bus(patience_s=PATIENCE_S)) -> None:
        self._connect = connect
        self._catalog = Watched(self._read_catalog, first=None, seconds=CATALOG_S)
        self._refs: Watched[Mapping[str, Ref]] = Watched(self._read_refs, first={}, seconds=REFS_S)
        self._fleet: Watched[Sequence[Device]] = Watched(self._read_fleet, first=(), seconds=FLEET_S)
        self._withdrawn: Watched[Mapping[str, Tombstone]] = Watched(self._read_withdrawn, {}, WITHDRAWN_S)
        self._notes: Watched[Mapping[str, Note]] = Watched(self._read_notes, {}, NOTES_S)
        self._notes_known: dict[str, tuple[str, Note | None]] = {}
        self._written: dict[str, Note] = {}
        self._retired: Watched[Sequence[Retired]] = Watched(self._read_retired, (), RETIRED_S)
        self._retired_known: dict[str, Retired | None] = {}
        self._erased: frozenset[str] = frozenset()
        self.devices = 0
        """Number of devices, including those whose status is not read."""
        self._given_up: tuple[float, str] | None = None
        self.manifest = lru_cache(MANIFESTS_KEPT)(self._open)
        """The manifest of an artifact, by reference; raises the errors of `Bus.open`."""
        self.json = lru_cache(FILES_KEPT)(self._load)
        """The content of a JSON file, by reference and path; None if the artifact has no such file."""
        self._releases: tuple[int, dict[str, Record]] = (-1, {})

    @cached_property
    def bus(self) -> Bus:
        """The bucket, with a short timeout.

        Raises:
            BadInput: no bucket is named.
        """
        return self._connect()

    @cached_property
    def _whole(self) -> Catalog:
        return Catalog(self.bus)

    def catalog(self) -> Catalog:
        """Return the catalog, with every commit read so far.

        Raises:
            BadInput: no bucket is named.
            Forbidden: S3 refuses the credentials, and has never accepted them.
        """
        for each in (self._refs, self._withdrawn, self._notes):
            each.look(wait_s=0)  # most pages need them, too: start reading them in parallel
        self._catalog.look()
        if isinstance(failure := self._catalog.failure(), Forbidden):
            raise failure
        return self._whole

    def record(self, reference: str) -> Record:
        """Return the catalog's record of an artifact.

        Raises:
            NotFound: the catalog does not list it.
            Unavailable: the catalog is not read yet.
        """
        record = self.catalog().get(reference)
        if record is None and (self.pending or self.age_s is None):
            raise Unavailable(self._catalog.error or "the catalog is still being read: reload in some seconds")
        if record is None:
            raise NotFound(f"{reference}: the catalog does not list it")
        return record

    def refs(self) -> Mapping[str, Ref]:
        """Return the refs of models, rings and datasets, by name."""
        return self._refs.look()

    def withdrawn(self) -> Mapping[str, Tombstone]:
        """Return the records of the batches that are withdrawn, by batch."""
        return self._withdrawn.look()

    def notes(self) -> Mapping[str, Note]:
        """Return what people say of artifacts, by reference; at most the first `MAX_NOTES`."""
        read = self._notes.look(wait_s=0)
        newer = {name: each for name, each in self._written.items() if name not in read or read[name].at < each.at}
        return {**read, **newer} if newer else read

    def remember(self, note: Note) -> None:
        """Show a note that this server has just written, before it is read again."""
        self._written[note.reference] = note

    def retired(self) -> Sequence[Retired]:
        """Return the records of retired artifacts, at most `MAX_RETIRED` of them, in no particular order."""
        return self._retired.look()

    def is_erased(self, reference: str) -> bool:
        """Return whether an artifact's payload was erased."""
        self.withdrawn()
        return reference in self._erased

    def fleet(self) -> Sequence[Device]:
        """Return the status of every device, at most of the first `MAX_DEVICES`."""
        return self._fleet.look()

    def device(self, name: str) -> Device:
        """Return the status of one device.

        Raises:
            NotFound: no device of this name has reported yet.
            Forbidden: S3 refuses the credentials.
            Unavailable: the fleet has not been read yet.
        """
        known = next((each for each in self.fleet() if each.device == name), None)
        if known is None and (failure := self._fleet.failure()):
            raise failure
        if known is None and self.devices <= MAX_DEVICES:
            raise NotFound(f"'{name[:80]}': no device of this name has reported yet")
        return known or self._try(lambda: read_device(self.bus, name))

    def read(self, key: str) -> bytes:
        """Return the content of an object.

        Raises:
            Missing: it does not exist.
            Unavailable: S3 does not answer.
        """
        return self._try(lambda: self.bus.get(key))

    def check(self, manifest: Manifest, file: File) -> None:
        """Check that a file exists with the size in its manifest.

        Raises:
            Missing: it does not exist.
            Erased: it was erased.
            Corrupt: it has another size.
        """
        key = f"{manifest.reference}/{manifest.attempt}/{file.path}"
        found = self._try(lambda: self.bus.size(key))
        if found != file.bytes:
            if found is None:
                self._try(lambda: self.bus.check_not_erased(manifest.reference))
                raise Missing(f"{key}: missing on the bus")
            raise Corrupt(f"{key}: {found} bytes, not {file.bytes}")

    def release_named(self, identity: str | None) -> Record | None:
        """Return the release with the id that a device reports; None if the catalog lists none."""
        if identity is None:
            return None
        catalog = self.catalog()
        if self._releases[0] != catalog.changes:
            changes = catalog.changes
            self._releases = changes, {r.id: r for r in catalog.records() if r.kind == "release"}
        return self._releases[1].get(identity)

    def troubles(self) -> Sequence[str]:
        """Return the current read errors, one line each, without duplicates."""
        return list(dict.fromkeys(w.error for w in self._watched if w.error))

    @property
    def _watched(self) -> Sequence[Watched[Any]]:
        return self._catalog, self._refs, self._fleet, self._withdrawn, self._notes, self._retired

    @property
    def age_s(self) -> float | None:
        """Seconds since the catalog was read; None before the first read."""
        return self._catalog.age_s

    @property
    def fleet_age_s(self) -> float | None:
        """Seconds since the fleet was read; None before the first read."""
        return self._fleet.age_s

    @property
    def pending(self) -> int:
        """Number of manifests still to be read."""
        return self._whole.pending if "_whole" in self.__dict__ else 0

    def _read_catalog(self) -> None:
        self._whole.refresh()

    def _read_refs(self) -> Mapping[str, Ref]:
        refs = (ref for folder in REF_FOLDERS for ref in self.bus.list_refs(folder))
        return {ref.name: ref for ref in refs if is_reference(ref.target)}

    def _read_withdrawn(self) -> Mapping[str, Tombstone]:
        self._erased = erased_names(self.bus)
        return Withdrawn(self.bus).batches

    def _read_notes(self) -> Mapping[str, Note]:
        try:
            heads = self.bus.first_page(NOTES, MAX_NOTES)
        except Forbidden:  # keys of before there were notes
            return {}
        tags = {reference: head.tag for head in heads if (reference := reference_of(head.key))}
        known = {name: entry for name, entry in self._notes_known.items() if tags.get(name) == entry[0]}
        new = [name for name in tags if name not in known]
        found = in_threads(self._open_note, new)
        self._notes_known = known | {name: (tags[name], note) for name, note in zip(new, found, strict=True)}
        return {name: note for name, (_, note) in self._notes_known.items() if note and not note.says_nothing}

    def _open_note(self, reference: str) -> Note | None:
        try:
            found = read_note(self.bus, reference)
        except Corrupt:  # one bad note does not hide the others
            return None
        return found[0] if found else None

    def _read_retired(self) -> Sequence[Retired]:
        keys = [key for key in self.bus.list(RETIRED) if key not in self._retired_known]
        room = MAX_RETIRED - len(self._retired_known)
        self._retired_known |= dict(zip(keys[:room], in_threads(self._open_retired, keys[:room]), strict=True))
        return [record for record in self._retired_known.values() if record]

    def _open_retired(self, key: str) -> Retired | None:
        try:
            return parse_retired(self.bus.get(key))
        except Corrupt:  # one bad record does not hide the others
            return None

    def _read_fleet(self) -> Sequence[Device]:
        names = list_devices(self.bus)
        self.devices = len(names)
        return read_fleet(self.bus, names[:MAX_DEVICES])

    def _open(self, reference: str) -> Manifest:
        return self._try(lambda: self.bus.open(reference))

    def _load(self, reference: str, path: str) -> Any:
        manifest = self.manifest(reference)
        file = next((each for each in manifest.files if each.path == path), None)
        if file is None:
            return None
        if file.bytes > MAX_JSON_BYTES:
            raise BadInput(f"{reference}/{path}: too large to be shown")
        self.check(manifest, file)
        content = self.read(f"{reference}/{manifest.attempt}/{path}")
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Corrupt(f"{reference}/{path}: not JSON") from error

    def _try(self, request: Callable[[], T]) -> T:
        """Send a request to S3; fail at once if another one has just timed out.

        Raises:
            Unavailable: S3 does not answer.
        """
        if self._given_up and time.monotonic() - self._given_up[0] < PAUSE_S:
            raise Unavailable(self._given_up[1])
        try:
            return request()
        except Unavailable as error:
            self._given_up = time.monotonic(), str(error)
            raise


def is_reference(text: Any) -> bool:
    """Return whether a value is the reference of an artifact: a ref or an XCom may contain anything."""
    try:
        return isinstance(text, str) and bool(split_reference(text))
    except BadInput:
        return False
