"""Store and read artifacts, manifests and refs on S3: all that passes between stages.

    bus = Bus.from_environment()        # SIM2EDGE_BUCKET and AWS_*: any S3 server, AWS included
    manifest = bus.open("frames/demo-1/3f2a9c0d11e4b7a6")
    bus.fetch(manifest, folder)         # every file checked against its SHA-256
    bus.move_ref("refs/models/champion", manifest.reference)

An artifact is committed by one conditional put of its manifest (If-None-Match), a ref moves by compare-and-swap
(If-Match).
"""

import fnmatch
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from obstore.store import MemoryStore

from sim2edge.bucket import S3Access, open_bucket, read_bucket
from sim2edge.errors import BadInput, Conflict, Corrupt, Erased, Missing, NotFound
from sim2edge.manifest import IDENTITY, File, Manifest, entry_key, parse_manifest, split_reference
from sim2edge.objects import Objects
from sim2edge.s3_access import find_access
from sim2edge.stage import Artifact
from sim2edge.stages import kinds
from sim2edge.tombstone import erasure_key, parse_erasure

T = TypeVar("T")
R = TypeVar("R")

THREADS = 8
"""Concurrent requests of one process: enough to fill a link, few enough for a small S3 server."""


RETIRED = "withdrawn/retired"
"""Folder of the records of retired artifacts (`retire.py`)."""


@dataclass(frozen=True)
class Ref:
    """A pointer: the artifact it names, the one it named before, and the tag that a swap compares with."""

    name: str
    target: str
    previous: str | None
    tag: str
    moved: str | None = None
    """When it was moved, in ISO 8601, as its writer says; None if it does not."""

    @property
    def artifact(self) -> str:
        """Return the target, if it is an artifact reference; else raise `Corrupt`."""
        try:
            return "/".join(split_reference(self.target))
        except (BadInput, AttributeError, TypeError) as error:
            raise Corrupt(f"{self.name}: names no artifact") from error


class Bus(Objects):
    """The bucket: its objects, and the artifacts and refs that they make up. Safe to share between threads."""

    @classmethod
    def from_environment(cls, patience_s: float | None = None) -> "Bus":
        """Connect as `SIM2EDGE_BUCKET` and the usual `AWS_*` variables configure; sends nothing yet.

        Args:
            patience_s: seconds after which a request is given up, for interactive callers; None: long enough to sit
                out a restart of the server.

        Raises:
            Misconfigured: no bucket is named, or a variable has an invalid value.
        """
        return cls.connect(S3Access(), patience_s)

    @classmethod
    def in_memory(cls) -> "Bus":
        """Return a bus that keeps everything in this process, and nothing after it."""
        return cls(MemoryStore())

    @classmethod
    def connect(cls, access: S3Access, patience_s: float | None = None) -> "Bus":
        """Connect with `access`; what it leaves out comes from the variables, see `from_environment`."""
        read_bucket()
        found = find_access(access)
        return cls(open_bucket(patience_s, found), found)

    # Artifacts

    def exists(self, reference: str) -> bool:
        """Return whether the artifact is committed."""
        return self.find(reference) is not None

    def find(self, reference: str) -> Manifest | None:
        """Return the manifest of a committed artifact; None when it is not committed.

        Raises:
            Corrupt: the manifest cannot be read.
        """
        found = self.get_tagged(f"{'/'.join(split_reference(reference))}/manifest.json")
        return parse_manifest(found[0], reference) if found else None

    def open(self, reference: str) -> Manifest:
        """Return the manifest of a committed artifact.

        Raises:
            Missing: it is not committed, or was retired.
            Corrupt: its manifest cannot be read.
        """
        manifest = self.find(reference)
        if manifest is None:
            retired = self.size(f"{RETIRED}/{reference}.json") is not None
            why = f"retired: {RETIRED}/{reference}.json says why" if retired else "its manifest is missing"
            raise Missing(f"{reference}: no such artifact on the bus ({why})")
        return manifest

    def fetch(self, manifest: Manifest, folder: Path, patterns: Sequence[str] = ("*",)) -> Artifact:
        """Download the payload files that match a glob pattern, those of the parts included, and check each.

        Raises:
            Corrupt: an object is missing or its bytes are not those of the manifest.
            Erased: the artifact, or a part, was erased.
        """
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [(f, of) for f, of in self.payload(manifest) if any(fnmatch.fnmatch(f.path, p) for p in patterns)]
        in_threads(lambda pair: self._fetch_file(pair[1], pair[0], folder), wanted)
        return Artifact(manifest, folder)

    def payload(self, manifest: Manifest, within: Sequence[str] = ()) -> Sequence[tuple[File, Manifest]]:
        """Return every file of an artifact, its parts included, with the manifest that holds it, sorted by path.

        A file of the artifact replaces those of its parts with the same path.

        Raises:
            Corrupt: a part is missing, contains the artifact itself (it is `within` others), or two parts have a file
                with the same path.
        """
        if manifest.reference in within:
            raise Corrupt(f"{manifest.reference}: is a part of itself: {' in '.join((manifest.reference, *within))}")
        found: dict[str, tuple[File, Manifest]] = {}
        own = {file.path: (file, manifest) for file in manifest.files}
        for part in in_threads(self.open, manifest.parts):
            for file, holder in self.payload(part, (manifest.reference, *within)):
                if file.path in found and file.path not in own:
                    other = found[file.path][1].reference
                    raise Corrupt(f"{manifest.reference}: its parts {other} and {part.reference} both have {file.path}")
                found[file.path] = file, holder
        found |= own
        return [found[path] for path in sorted(found)]

    def _fetch_file(self, manifest: Manifest, file: File, folder: Path) -> None:
        key = f"{manifest.reference}/{manifest.attempt}/{file.path}"
        try:
            self.download(key, folder / file.path, file.sha256, listed=f"the manifest of {manifest.reference}")
        except Missing:
            self.check_not_erased(manifest.reference)
            raise

    def check_not_erased(self, what: str) -> None:
        """Check that an artifact, or a delivery `inbox/<batch>`, was not erased: tells why an object is missing.

        Raises:
            Erased: it was; the message says when, by whom and why.
        """
        if found := self.get_tagged(erasure_key(what)):
            raise Erased(parse_erasure(found[0], what).why)

    def download(self, key: str, target: Path, sha256: str, listed: str) -> None:
        """Download an object to `target` and check it against the SHA-256 that `listed` (words for the error) gives.

        Raises:
            Corrupt: the object is missing or its bytes differ.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        found = hashlib.sha256()
        with target.open("wb") as out:
            for chunk in self.stream(key):
                found.update(chunk)
                out.write(chunk)
        if found.hexdigest() != sha256:
            target.unlink()
            raise Corrupt(f"{key}: its bytes do not match the sha256 in {listed}")

    def upload(self, reference: str, attempt: str, folder: Path) -> Sequence[File]:
        """Upload every file below `folder` as payload of one attempt at an artifact; nothing becomes visible."""
        files = describe_files(folder)
        in_threads(lambda file: self.put(f"{reference}/{attempt}/{file.path}", folder / file.path), files)
        return files

    def commit(self, manifest: Manifest) -> Manifest:
        """Make an uploaded artifact visible; if another writer was first, delete this attempt's payload.

        Returns:
            the manifest on the bus: the given one, or that of the first writer.
        """
        try:
            self.put(f"{manifest.reference}/manifest.json", manifest.to_json(), only_new=True)
        except Conflict:
            winner = self.open(manifest.reference)
            if winner.attempt != manifest.attempt:  # same attempt: our own put, retried after a lost response
                self.delete(self.list(f"{manifest.reference}/{manifest.attempt}"))
            manifest = winner
        self.index(manifest)
        return manifest

    def index(self, manifest: Manifest) -> None:
        """Add a committed artifact to the catalog (idempotent); a killed run may have left that out."""
        with suppress(Conflict):
            self.put(entry_key(manifest.reference, manifest.finished), b"", only_new=True)

    def artifacts(self, kind: str | None = None, partition: str | None = None) -> Iterator[str]:
        """Yield the references of all artifacts with a folder, uncommitted ones included; `find` tells them apart."""
        for each_kind in [kind] if kind else kinds():
            for each_partition in [partition] if partition else self.folders(each_kind):
                for identity in self.folders(f"{each_kind}/{each_partition}"):
                    if IDENTITY.fullmatch(identity):
                        yield f"{each_kind}/{each_partition}/{identity}"

    def manifests(self, kind: str | None = None, partition: str | None = None) -> Sequence[Manifest]:
        """Return every committed manifest, oldest first."""
        found = in_threads(self.find, list(self.artifacts(kind, partition)))
        return sorted((m for m in found if m is not None), key=lambda m: m.finished)

    def resolve(self, text: str) -> str:
        """Return the artifact reference for a reference, a ref (`refs/...`) or a bare id.

        Raises:
            NotFound: the bus has nothing of that name.
            BadInput: the text is not a valid name.
        """
        if text.startswith("refs/"):
            ref = self.read_ref(text)
            if ref is None:
                raise NotFound(f"{text}: no such ref on the bus")
            return ref.artifact
        if IDENTITY.fullmatch(text):
            for reference in self.artifacts():
                if reference.endswith(f"/{text}"):
                    return reference
            raise NotFound(f"{text}: no artifact on the bus has this id")
        split_reference(text)
        return text

    def sweep(self, grace: timedelta) -> Sequence[str]:
        """Delete payload that no manifest names and that is older than `grace`; return the deleted keys."""
        deadline = datetime.now(UTC) - grace
        deleted: list[str] = []
        for reference in self.artifacts():
            objects = list(self._list(reference))
            manifest = self.find(reference)
            kept = (f"{reference}/manifest.json", f"{reference}/{manifest.attempt}/") if manifest else ()
            stray = [(key, modified) for key, modified in objects if not key.startswith(kept)]
            if stray and max(modified for _, modified in stray) < deadline:
                deleted += [key for key, _ in stray]
        self.delete(deleted)
        return deleted

    # Refs

    def read_ref(self, name: str) -> Ref | None:
        """Return the ref `refs/...`; None when it was never set.

        Raises:
            Corrupt: the object is not a ref.
        """
        found = self.get_tagged(name)
        if found is None:
            return None
        try:
            content = json.loads(found[0])
            return Ref(name, content["target"], content["previous"], found[1], content.get("moved"))
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"{name}: not a ref") from error

    def move_ref(self, name: str, target: str, expected: Ref | bool | None = True) -> None:
        """Point `name` at an artifact, by compare-and-swap; do nothing when it already does.

        Args:
            name: `refs/...`.
            target: an artifact reference.
            expected: the ref to compare with (None: not set); True: its current value.

        Raises:
            Conflict: another writer moved it meanwhile.
        """
        split_reference(target)
        current = self.read_ref(name)
        if current and current.target == target:
            return
        if not isinstance(expected, bool):
            current = expected
        content = {
            "target": target,
            "previous": current.target if current else None,
            "moved": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        data = json.dumps(content, indent=1).encode()
        self.put(name, data, only_new=current is None, if_tag=current.tag if current else None)

    def list_refs(self, prefix: str = "refs") -> Sequence[Ref]:
        """Return every ref below `prefix`, sorted by name."""
        refs = in_threads(self.read_ref, sorted(self.list(prefix)))
        return [ref for ref in refs if ref is not None]


def describe_files(folder: Path) -> Sequence[File]:
    """Return path, size and SHA-256 of every file below `folder`, sorted by path."""

    def describe(path: Path) -> File:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        return File(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=sha256)

    return in_threads(describe, sorted(path for path in folder.rglob("*") if path.is_file()))


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Apply `function` to every item in a few threads; return the results in order, raise the first error."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(THREADS, len(items))) as pool:
        return list(pool.map(function, items))
