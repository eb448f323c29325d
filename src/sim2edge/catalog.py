"""Keep records of all commits in memory, read from a time-ordered index, so that pages never list the bucket.

    catalog = Catalog(Bus.from_environment())
    catalog.refresh()                                   # one request, plus one for each new artifact
    catalog.descendants("frames/demo-1/3f2a9c0d11e4b7a6")   # every dataset, model, release made with it

    sim2edge reindex                                    # index what was committed before there was a catalog

`Bus.commit` writes an empty object `catalog/<finished>_<kind>_<partition>_<id>` right after a manifest. If a run is
killed between the two, the next cache hit adds the entry (`Bus.index`). Manifests never change, so each is fetched once
and kept as a slim record of about a kilobyte.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

from sim2edge.bus import Bus, in_threads
from sim2edge.errors import Corrupt
from sim2edge.manifest import ENTRY_TIME, Manifest, entry_key, parse_entry
from sim2edge.stages import kinds, maker_of

WINDOW = timedelta(minutes=15)
"""How far back a refresh lists: writers' clocks may differ, and an entry may come late, by this much."""
FULL = timedelta(hours=1)
"""How often everything is listed again, for entries that came later than that."""
PORTION = 200
"""Manifests fetched before they are shown: a cold start shows records as it proceeds."""

COMPARED = ("champion", "best")
"""Roles of inputs that a result was compared with, not made from."""

Value = float | int | str | bool
MAX_WORD, MAX_REASON = 63, 300
"""Maximum length, in characters, of a word of the summary and of a refusal's reason in a record."""
MAX_NUMBER = 1e15


@dataclass(frozen=True, slots=True)
class Record:
    """The part of a manifest that is kept."""

    reference: str
    stage: str
    version: int
    finished: datetime
    wall_s: float
    bytes: int
    inputs: Mapping[str, Sequence[str]]
    """Role to references, including the models it was compared with."""
    parts: Sequence[str]
    shard: str | None
    refused: str | None
    config_hash: str
    numbers: Mapping[str, Value]
    cpu_s: float = 0.0

    @property
    def kind(self) -> str:
        """The artifact's kind: episodes, frames, ..."""
        return self.reference.partition("/")[0]

    @property
    def partition(self) -> str:
        """The batch it is filed under."""
        return self.reference.split("/")[1]

    @property
    def id(self) -> str:
        """Its 16 hex digits."""
        return self.reference.rpartition("/")[2]

    @property
    def made_from(self) -> Sequence[str]:
        """The artifacts it was made from."""
        return made_from(self.inputs, self.parts)


def made_from(inputs: Mapping[str, Sequence[str]], parts: Sequence[str]) -> Sequence[str]:
    """Return the references an artifact was made from: inputs in the order of roles, then parts.

    Inputs that it was only compared with are left out.
    """
    return [*(each for role, references in inputs.items() if role not in COMPARED for each in references), *parts]


def slim(manifest: Manifest) -> Record:
    """Return the record of a manifest; references are interned, as every dataset names the batches that it holds."""
    inputs = {sys.intern(role): tuple(map(sys.intern, names)) for role, names in manifest.inputs.items()}
    return Record(
        reference=sys.intern(manifest.reference),
        stage=sys.intern(manifest.stage),
        version=manifest.version,
        finished=manifest.finished.astimezone(UTC),
        wall_s=manifest.cost.wall_s,
        bytes=manifest.size,
        inputs=inputs,
        parts=tuple(map(sys.intern, manifest.parts)),
        shard=manifest.shard,
        refused=manifest.refused and manifest.refused[:MAX_REASON],
        config_hash=sys.intern(manifest.config_hash),
        numbers=choose_numbers(manifest.kind, manifest.stage, manifest.summary),
        cpu_s=manifest.cost.cpu_s,
    )


def is_made_here(reference: str) -> bool:
    """Return whether an installed stage makes such artifacts; others are skipped, as reading them may be forbidden."""
    return reference.partition("/")[0] in kinds()


def choose_numbers(kind: str, stage: str, summary: Mapping[str, Any]) -> dict[str, Value]:
    """Return the few values of a summary that pages show, as the stage declares them; drop unsuitable ones."""
    maker = maker_of(kind, stage)
    figures = maker.shown.figures if maker else {}
    found = {name: look_up(summary, path.split(".")) for name, path in figures.items()}
    return {name: value for name, value in found.items() if is_number(value) or is_word(value)}


def look_up(summary: Any, path: Sequence[str]) -> Any:
    """Return the value at a path through nested mappings; None when there is none."""
    for name in path:
        summary = summary.get(name) if isinstance(summary, dict) else None
    return summary


def headline(record: Record) -> str:
    """Return the main figure of an artifact, as its stage declares it; empty when there is none."""
    maker = maker_of(record.kind, record.stage)
    if maker is None:
        return ""
    try:
        text = maker.shown.headline(record.numbers)
    except Exception:  # a missing figure, a word instead of a number, or any mistake of a package that is not ours
        return ""
    return text[:MAX_WORD] if isinstance(text, str) else ""


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether the value is a finite number below `MAX_NUMBER`."""
    return isinstance(value, int | float) and abs(value) < MAX_NUMBER


def is_word(value: Any) -> TypeGuard[str]:
    """Return whether the value is a string of at most `MAX_WORD` characters."""
    return isinstance(value, str) and len(value) <= MAX_WORD


class Catalog:
    """Records of every commit that has an entry; safe to share between threads, readers never wait for S3."""

    def __init__(self, bus: Bus, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._bus = bus
        self._now = now
        self._refreshing = threading.Lock()
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._children: dict[str, list[str]] = {}
        self._newest: datetime | None = None
        """When the last entry was written, among writers whose clock is not ahead of ours."""
        self._listed: datetime | None = None
        self.refreshed: datetime | None = None
        """When a refresh last succeeded; None before the first."""
        self.pending = 0
        """Manifests that are listed but not read yet, during a refresh."""
        self.changes = 0
        """Incremented whenever records are added or dropped: values derived from them are valid until then."""

    def refresh(self) -> int:
        """Read new records and return their number.

        Raises:
            Unavailable: S3 does not answer. Records read before that stay.
        """
        with self._refreshing:
            now = self._now()
            full = self._listed is None or now - self._listed >= FULL
            keys = sorted(self._bus.list("catalog", None if full else self._window(self.refreshed or now)))
            listed = {reference: key for key in keys if (reference := parse_entry(key)) and is_made_here(reference)}
            if full:
                self._drop([reference for reference in self._records if reference not in listed])
            came = self._read([reference for reference in listed if reference not in self._records])
            past = (then for key in reversed(keys) if (then := entry_time(key)) and then <= now)
            self._newest = next(past, self._newest)
            self._listed = now if full else self._listed
            self.refreshed = now
            return came

    def _window(self, refreshed: datetime) -> str:
        """Return the key to list after: from the newest known entry, or else from the last refresh."""
        return entry_key("", (self._newest or refreshed) - WINDOW).rstrip("_")

    def _read(self, references: Sequence[str]) -> int:
        came = 0
        try:
            newest_first = references[::-1]
            for start in range(0, len(newest_first), PORTION):
                self.pending = len(newest_first) - start
                found = in_threads(self._open, newest_first[start : start + PORTION])
                records = [record for record in found if record]
                self._add(records)
                came += len(records)
        finally:
            self.pending = 0
        return came

    def _open(self, reference: str) -> Record | None:
        try:
            manifest = self._bus.find(reference)
            return slim(manifest) if manifest else None
        except (Corrupt, OverflowError):  # one bad manifest, or a time out of range, does not hide the others
            return None

    def _add(self, records: Iterable[Record]) -> None:
        with self._lock:
            for record in records:
                self._records[record.reference] = record
                for parent in dict.fromkeys(record.made_from):
                    self._children.setdefault(parent, []).append(record.reference)
            self.changes += 1

    def _drop(self, references: Sequence[str]) -> None:
        with self._lock:
            for reference in references:
                for parent in dict.fromkeys(self._records.pop(reference).made_from):
                    self._children[parent].remove(reference)
            self.changes += bool(references)

    def get(self, reference: str) -> Record | None:
        """Return the record of an artifact; None when there is none."""
        return self._records.get(reference)

    def records(self) -> Sequence[Record]:
        """Return every record, in no particular order."""
        with self._lock:
            return list(self._records.values())

    def parents(self, reference: str) -> Sequence[str]:
        """Return the references an artifact was made from."""
        record = self._records.get(reference)
        return record.made_from if record else ()

    def children(self, reference: str) -> Sequence[str]:
        """Return the references made from an artifact, in the order they became known."""
        with self._lock:
            return tuple(self._children.get(reference, ()))

    def ancestors(self, reference: str) -> Sequence[str]:
        """Return all ancestors of an artifact, nearest first, itself left out."""
        return walk(reference, self.parents)

    def descendants(self, reference: str) -> Sequence[str]:
        """Return all descendants of an artifact, nearest first, itself left out."""
        return walk(reference, self.children)


def entry_time(key: str) -> datetime | None:
    """Return the time in a catalog entry's key; None when it has none."""
    try:
        return datetime.strptime(key.removeprefix("catalog/").partition("_")[0], ENTRY_TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def walk(start: str, neighbours: Callable[[str], Sequence[str]]) -> Sequence[str]:
    """Return everything reachable from `start`, breadth first, each once, `start` left out."""
    seen = {start: None}
    pending = [start]
    for current in pending:
        new = [each for each in dict.fromkeys(neighbours(current)) if each not in seen]
        seen.update(dict.fromkeys(new))
        pending += new
    return list(seen)[1:]


def reindex(bus: Bus) -> int:
    """Index every committed artifact that the catalog lacks; return their number."""
    there = set(bus.list("catalog"))
    missing = [m for m in bus.manifests() if entry_key(m.reference, m.finished) not in there]
    in_threads(bus.index, missing)
    return len(missing)
