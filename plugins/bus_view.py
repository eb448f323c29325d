"""What the pages know of the bus: the catalog, refs and fleet, kept fresh by threads, and files that never change.

A page never lists the bucket. What is immutable (manifests, small JSON files) is fetched once and kept, least used
dropped first; a request for it is given up after `PATIENCE_S`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from watched import Watched

from sim2edge.bus import Bus, Ref
from sim2edge.catalog import Catalog, Record
from sim2edge.errors import Corrupt
from sim2edge.fleet import Device, list_devices, read_fleet
from sim2edge.manifest import Manifest

PATIENCE_S = 3.0
CATALOG_S, REFS_S, FLEET_S = 5.0, 10.0, 15.0
"""Seconds between two reads of each, while somebody looks."""
REF_FOLDERS = ("refs/models", "refs/rings", "refs/datasets")
"""Those of which there are few; the refs of batches are as many as there are batches."""
CHAMPION = "refs/models/champion"
MOST_DEVICES = 2000
MOST_JSON_BYTES = 4 << 20
MANIFESTS_KEPT, FILES_KEPT = 256, 64


class BusView:
    """One a server process; safe to share between threads."""

    def __init__(self, connect: Callable[[], Bus] = lambda: Bus.from_environment(patience_s=PATIENCE_S)) -> None:
        self._connect = connect
        self._catalog = Watched(self._read_catalog, first=None, seconds=CATALOG_S)
        self._refs: Watched[Mapping[str, Ref]] = Watched(self._read_refs, first={}, seconds=REFS_S)
        self._fleet: Watched[Sequence[Device]] = Watched(self._read_fleet, first=(), seconds=FLEET_S)
        self.manifest = lru_cache(MANIFESTS_KEPT)(self._open)
        """The manifest of an artifact, by reference; raises what `Bus.open` does."""
        self.json = lru_cache(FILES_KEPT)(self._load)
        """The content of a JSON file, by reference and path; None when the artifact has no such file."""
        self._releases: tuple[int, dict[str, Record]] = (-1, {})

    @cached_property
    def bus(self) -> Bus:
        """The bucket, impatiently.

        Raises:
            BadInput: no bucket is named.
        """
        return self._connect()

    @cached_property
    def _whole(self) -> Catalog:
        return Catalog(self.bus)

    def catalog(self) -> Catalog | None:
        """Every commit, as far as it is read; None when there is no bucket."""
        self._catalog.look()
        return self._whole if self._catalog.error is None or "_whole" in self.__dict__ else None

    def refs(self) -> Mapping[str, Ref]:
        """The refs of models, rings and datasets, by name."""
        return self._refs.look()

    def fleet(self) -> Sequence[Device]:
        """The status of every device."""
        return self._fleet.look()

    def release_named(self, identity: str | None) -> Record | None:
        """The release whose id a device gives; None when there is none."""
        catalog = self.catalog()
        if catalog is None or identity is None:
            return None
        if self._releases[0] != catalog.changes:
            changes = catalog.changes
            self._releases = changes, {r.id: r for r in catalog.records() if r.kind == "release"}
        return self._releases[1].get(identity)

    def troubles(self) -> Sequence[str]:
        """What cannot be read now, one line each, without saying the same twice."""
        return list(dict.fromkeys(w.error for w in (self._catalog, self._refs, self._fleet) if w.error))

    @property
    def age_s(self) -> float | None:
        """Seconds since the catalog was read; None before that."""
        return self._catalog.age_s

    @property
    def waiting(self) -> int:
        """Manifests that are still to be read."""
        return self._whole.waiting if "_whole" in self.__dict__ else 0

    def _read_catalog(self) -> None:
        self._whole.refresh()

    def _read_refs(self) -> Mapping[str, Ref]:
        return {ref.name: ref for folder in REF_FOLDERS for ref in self.bus.list_refs(folder)}

    def _read_fleet(self) -> Sequence[Device]:
        return read_fleet(self.bus, list_devices(self.bus)[:MOST_DEVICES])

    def _open(self, reference: str) -> Manifest:
        return self.bus.open(reference)

    def _load(self, reference: str, path: str) -> Any:
        manifest = self.manifest(reference)
        file = next((each for each in manifest.files if each.path == path), None)
        if file is None or file.bytes > MOST_JSON_BYTES:
            return None
        try:
            return json.loads(self.bus.get(f"{reference}/{manifest.attempt}/{path}"))
        except ValueError as error:
            raise Corrupt(f"{reference}/{path}: not JSON") from error
