"""Decide what a withdrawn batch affects: which artifacts derive from it, and which runs are refused.

    withdrawn = Withdrawn(bus)                                 one listing; a record is read when its batch occurs
    withdrawn.find("dataset/b-9/3f2a9c0d11e4b7a6")             the first withdrawn batch it derives from, or None
    withdrawn.check("train", {"dataset": ["dataset/..."]})     raise BadInput if an input derives from one
    derived(catalog.records(), "b-7")                          every artifact that derives from the batch

An artifact derives from a batch if it was made from its episodes, in however many steps. A model that a verdict only
compared with (roles `champion` and `best`) is no source of the verdict.

Whoever acts on an artifact checks before and after: a batch that is withdrawn in between is seen by the second check,
or else `sim2edge withdraw`, which writes its record before it reads refs and rings, sees the result of the act.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property

from sim2edge.bus import Bus
from sim2edge.catalog import COMPARED, Record, made_from, walk
from sim2edge.errors import BadInput, Conflict
from sim2edge.manifest import split_reference
from sim2edge.stages import installed
from sim2edge.tombstone import BATCHES, Event, Tombstone, parse_tombstone, tombstone_key

TRIES = 8
Parents = Callable[[str], Sequence[str]]


# Pure


def single_batch_kinds() -> frozenset[str]:
    """Return the kinds whose artifacts have one source, the batch they are filed under: `episodes`, `frames`.

    Their stages have no inputs, or one single input of such a kind; what derives from them is known by name.
    """
    makers = [stage for stage in installed() if len(stage.inputs) <= 1]
    makers = [stage for stage in makers if not any(each.many for each in stage.inputs.values())]
    several = {stage.produces for stage in installed() if stage not in makers}
    found: frozenset[str] = frozenset()
    while True:
        fits = {s.produces for s in makers if all(each.kind in found for each in s.inputs.values())} - several
        if fits == found:
            return found
        found = frozenset(fits)


def source_of(reference: str, parents: Sequence[str], single: frozenset[str]) -> str | None:
    """Return the batch whose data an artifact is, or holds alone; None if its sources are those of its parents."""
    kind, partition, _ = split_reference(reference)
    return partition if kind in single or not parents else None


def derived(records: Iterable[Record], batch: str, single: frozenset[str]) -> list[Record]:
    """Return the records of the artifacts that derive from a batch, nearest first.

    Args:
        records: every record of the catalog.
        batch: the batch.
        single: see `single_batch_kinds`.
    """
    known = {record.reference: record for record in records}
    children: dict[str, list[str]] = {}
    for record in known.values():
        for parent in dict.fromkeys(record.made_from):
            children.setdefault(parent, []).append(record.reference)
    roots = [name for name, record in known.items() if source_of(name, record.made_from, single) == batch]
    found = walk("", lambda name: children.get(name, ()) if name else roots)
    return [known[name] for name in found]


def find_source(reference: str, batches: Iterable[str], parents: Parents, single: frozenset[str]) -> str | None:
    """Return the first of some batches that an artifact derives from; None if it derives from none of them.

    Args:
        reference: the artifact.
        batches: the batches.
        parents: returns the references an artifact was made from.
        single: see `single_batch_kinds`.
    """
    wanted = frozenset(batches)
    if not wanted:
        return None
    first, seen, pending = min(wanted), {reference}, [reference]
    for current in pending:
        kind, partition, _ = split_reference(current)
        if partition < first:  # an artifact is filed under the last of its batches
            continue
        above = () if kind in single else parents(current)
        source = source_of(current, above, single)
        if source in wanted:
            return source
        new = [each for each in dict.fromkeys(above) if each not in seen]
        seen.update(new)
        pending += new
    return None


def decide(batch: str, found: Tombstone | None, event: Event) -> Tombstone | None:
    """Return the batch's record with one more decision; None if it changes nothing.

    Raises:
        BadInput: the batch is not withdrawn, so nothing can be lifted, or its data were erased, which is final.
    """
    last = found.last.action if found else None
    if event.action == "lift" and last == "erase":
        raise BadInput(f"batch '{batch}' was {found.why if found else ''}: that is final; use another batch id")
    if event.action == "lift" and last is None:
        raise BadInput(f"batch '{batch}' is not withdrawn")
    if last in (event.action, "erase"):
        return None
    return Tombstone(batch=batch, events=(*(found.events if found else ()), event))


# On the bus


class Withdrawn:
    """The withdrawn batches at one moment: listed once, at the first question; each record is read once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._records: dict[str, Tombstone | None] = {}
        self._parents: dict[str, Sequence[str]] = {}

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(name.removesuffix(".json") for name in self._bus.files(BATCHES) if name.endswith(".json"))

    @cached_property
    def _single(self) -> frozenset[str]:
        return single_batch_kinds()

    def get(self, batch: str) -> Tombstone | None:
        """Return the record of a batch that is withdrawn; None if it is not."""
        if batch not in self._names:
            return None
        if batch not in self._records:
            found = read_tombstone(self._bus, batch)
            self._records[batch] = found[0] if found and found[0].withdrawn else None
        return self._records[batch]

    @cached_property
    def batches(self) -> Mapping[str, Tombstone]:
        """Every withdrawn batch with its record."""
        return {name: record for name in sorted(self._names) if (record := self.get(name))}

    def find(self, reference: str) -> Tombstone | None:
        """Return the record of the first withdrawn batch that an artifact derives from; None if there is none.

        Reads the manifests between the artifact and its frames; of `frames` and `episodes` none.
        """
        wanted = set(self._names)
        while source := find_source(reference, wanted, self._read_parents, self._single):
            if record := self.get(source):
                return record
            wanted.remove(source)  # lifted
        return None

    def _read_parents(self, reference: str) -> Sequence[str]:
        if reference not in self._parents:
            manifest = self._bus.find(reference)
            self._parents[reference] = made_from(manifest.inputs, manifest.parts) if manifest else ()
        return self._parents[reference]

    def check(self, name: str, inputs: Mapping[str, Sequence[str]]) -> None:
        """Check that no input derives from a withdrawn batch; models that are only compared with may.

        Args:
            name: the stage, for the error.
            inputs: role to references.

        Raises:
            BadInput: one does; the message names it, and who withdrew the batch and why.
        """
        for role, references in inputs.items():
            for reference in () if role in COMPARED else references:
                if record := self.find(reference):
                    raise BadInput(f"{name}: input '{role}': {say(reference, record)}")

    def check_batch(self, name: str, batch: str) -> None:
        """Check that a batch may be made.

        Raises:
            BadInput: it is withdrawn.
        """
        if record := self.get(batch):
            raise BadInput(f"{name}: batch '{batch}' was {record.why}")

    def check_artifact(self, reference: str) -> None:
        """Check that an artifact derives from no withdrawn batch.

        Raises:
            BadInput: it does.
        """
        if record := self.find(reference):
            raise BadInput(say(reference, record))


def say(reference: str, record: Tombstone) -> str:
    """Return in words that an artifact has a withdrawn batch."""
    return f"{reference}: has withdrawn batch '{record.batch}', {record.why}"


def check_run(bus: Bus, name: str, inputs: Mapping[str, Sequence[str]], partition: str) -> None:
    """Check that a run may commit its result: see `Withdrawn.check`; without inputs, that its batch may be made.

    Raises:
        BadInput: it may not.
    """
    withdrawn = Withdrawn(bus)
    withdrawn.check(name, inputs)
    if not any(inputs.values()):
        withdrawn.check_batch(name, partition)


def read_tombstone(bus: Bus, batch: str) -> tuple[Tombstone, str] | None:
    """Return the record of a batch with its tag; None if it was never withdrawn.

    Raises:
        Corrupt: the record cannot be read.
    """
    found = bus.get_tagged(tombstone_key(batch))
    return (parse_tombstone(found[0], batch), found[1]) if found else None


def record(bus: Bus, batch: str, event: Event) -> Tombstone:
    """Add a decision to the record of a batch, unless it is the current one; return the record.

    Raises:
        BadInput: see `decide`.
        Conflict: other writers won every race.
    """
    for remaining in reversed(range(TRIES)):
        found = read_tombstone(bus, batch)
        changed = decide(batch, found[0] if found else None, event)
        if changed is None:
            assert found is not None  # noqa: S101 (only a decision that is there already changes nothing)
            return found[0]
        try:
            tag = found[1] if found else None
            bus.put(tombstone_key(batch), changed.to_json(), only_new=found is None, if_tag=tag)
            return changed
        except Conflict:
            if not remaining:
                raise
    raise AssertionError("unreachable")


def now() -> datetime:
    """Return the current time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
