"""Register the complete batches of the inbox, each once.

    survey(bus)                        the inbox's batches that are not registered; changes nothing
    register(bus, run, scheduler)      registers complete batches; reports what it did
    pending(bus)                       batches that `register` would register: wakes the run

    inbox/<batch>/READY.json           a complete batch (`inbox.py`)
    registered/<batch>.json            its claim: the run that registered it, and the READY.json it read
    registered/runs/<id>.json          the journal of a try: batches it was about to claim; deleted when finished
    registered/runs/<stage>/<id>.json  the same, of batches for another stage than `ingest`, which have their own events

A batch is registered when the scheduler has an event for it, which starts its run; a claim names the run that emits the
event.

**Each batch is registered once, whatever is killed when.** The scheduler stores the events of a task in the same
database transaction as its success, so a try emits the events of all its claims, or of none. A try

1. reads the journals. A batch that an ended run has claimed without an event was lost: the try takes it over. It reads
   the claims, then queries whether the run has ended, then its events, in that order: an ended run emits no more, and
   one that is cleared meanwhile renews its claims, so that step 4 fails. A journal whose events are not available at
   the moment is left to a later run.
2. finds complete batches without a claim; and, in the journal of an earlier try of its own run, what that try claimed.
3. writes all those batches into a journal of its own, never changed afterwards, before it claims the first of them.
4. claims each: a new one if it has no claim (If-None-Match), another by replacing the claim that it read (If-Match).
5. deletes the journals that can lose nothing any more, and emits events for the claims it holds.

*Never lost*: killed before step 4, a batch has no claim and is new to the next try. Killed after it, the batch is in a
journal, which stays until a later run has seen an event, or another run's claim, for each batch in it; so a retry
finds it, or else, when the run has ended in whatever way (failed, marked as a success by hand, deleted), the next run
does. A batch that is taken over is in the new journal before the old one is deleted.

*Never twice*: two runs emit events for a batch only if both held its claim. A claim passes on only by step 1, when its
holder has ended without an event. A try that was presumed dead and still runs shares the claims of its run, but its
events are discarded: the scheduler rejects a try that it has given up. A run that is cleared after its success finds
its events, and emits none again.
"""

import fnmatch
import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sim2edge.bus import Bus, in_threads
from sim2edge.errors import BadInput, Conflict, Corrupt
from sim2edge.inbox import READY, Ready, digest, find_ready, parse_ready
from sim2edge.lines import quote
from sim2edge.manifest import PARTITION
from sim2edge.objects import Head
from sim2edge.stages import installed
from sim2edge.withdrawal import Withdrawn

CLAIMS = "registered"
JOURNALS = "registered/runs"
DEFAULT_STAGE = "ingest"
"""The stage of a delivery that no other stage knows."""
MAX_AT_ONCE = 500
"""Batches that one run registers: their events are one transaction of the scheduler's database. The next run takes
the rest."""
MAX_TRY = timedelta(days=1)
"""A process that was presumed dead writes nothing after that: its task ends within minutes."""
CLOCKS_APART = timedelta(hours=1)
"""How far the clocks of claim writers and Airflow may differ; S3 itself allows no more than 15 minutes."""
MAX_DATED = 500
"""Incomplete batches whose last write is queried: a request each, and any producer may begin a batch."""

M = TypeVar("M", bound=BaseModel)


class Claim(BaseModel):
    """`registered/<batch>.json`: the run that registered a batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: str
    ready: str
    """SHA-256 of the READY.json at the time."""
    run: str
    """The run of the registering DAG."""
    at: datetime


class Journal(BaseModel):
    """`registered/runs/<id>.json`: the batches that a try was about to claim."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    since: datetime
    batches: Sequence[str]


class Scheduler(Protocol):
    """The queries to Airflow."""

    def has_ended(self, run: str) -> bool:
        """Return whether this run of the registering DAG gets no more tries; also True for a deleted run."""

    def registered(self, run: str, since: datetime) -> Collection[str] | None:
        """Return the batches for which the run has emitted an event since then; None if that is unknown for now."""


@dataclass(frozen=True)
class Survey:
    """The inbox's batches without a claim."""

    complete: Mapping[str, str] = field(default_factory=dict)
    """Batch to the SHA-256 of its READY.json, which is valid."""
    refused: Sequence[str] = ()
    """An error line for each name that is no batch id, and for each invalid READY.json."""
    incomplete: Mapping[str, datetime] = field(default_factory=dict)
    """Batch without READY.json to the time of the last write seen in it."""
    more_incomplete: int = 0
    """Batches without READY.json beyond the first `MAX_DATED`."""


@dataclass(frozen=True)
class Report:
    """The result of a run."""

    registered: Sequence[str]
    refused: Sequence[str]
    incomplete: Mapping[str, datetime]
    taken_over: Mapping[str, str]
    """Batch to the run that had claimed it and ended without registering it."""
    left: int
    """Complete batches that the next run registers."""
    more_incomplete: int = 0
    """See `Survey`."""


@dataclass(frozen=True)
class Held:
    """A claim with the tag that a swap compares with."""

    claim: Claim
    tag: str


@dataclass(frozen=True)
class Open:
    """A journal, the scheduler's state of its run, and, if that is known, the claims of its batches."""

    # Read in that order: see step 1 in the docstring of this module.

    name: str
    journal: Journal
    claims: Mapping[str, Held]
    ended: bool
    registered: Collection[str] | None

    @property
    def lost(self) -> Mapping[str, Held]:
        """The claims that its run holds without an event, as far as known."""
        if self.registered is None:
            return {}
        own = {batch: held for batch, held in self.claims.items() if held.claim.run == self.journal.run}
        return {batch: held for batch, held in own.items() if batch not in self.registered}


@dataclass(frozen=True)
class Steps:
    """The claims that a try has to make."""

    new: Mapping[str, str]
    """Batch to READY.json's SHA-256: batches without a claim."""
    swap: Mapping[str, Held]
    """Batch to the claim to replace: this run's own of an earlier try, or that of a run that lost it."""
    left: int


def decide(run: str, complete: Mapping[str, str], journals: Sequence[Open], most: int = MAX_AT_ONCE) -> Steps:
    """Decide which batches a try of `run` claims: complete ones without a claim, and those in the journals."""
    due = [each for each in journals if each.ended or each.journal.run == run]
    swap = {batch: held for each in due for batch, held in each.lost.items()}
    new = dict(sorted(complete.items())[: max(0, most - len(swap))])
    return Steps(new, swap, len(complete) - len(new))


def is_finished(each: Open, run: str, taken: Collection[str], now: datetime) -> bool:
    """Return whether a journal may be deleted, given what `run` has `taken`: no batch in it can be lost any more.

    A batch in it without a claim may yet be claimed by a try that was presumed dead; the journal waits a day for it.
    """
    kept = {batch for batch in each.claims if batch not in each.lost}
    finished = kept.union(taken).issuperset(each.journal.batches) or now - each.journal.since > MAX_TRY
    return each.ended and each.registered is not None and each.journal.run != run and finished


def register(bus: Bus, run: str, scheduler: Scheduler, most: int = MAX_AT_ONCE, stage: str = DEFAULT_STAGE) -> Report:
    """Claim complete batches of one stage for `run`; the caller emits an event for each `registered`.

    See the module's docstring.

    Raises:
        BadInput: the bus may not be read or written, or a claim is corrupt.
    """
    folder = journals_of(stage)
    journals = [each for name in _names(bus, folder) if (each := _look_up(bus, f"{folder}/{name}.json", scheduler))]
    found = survey(bus, stage=stage)
    steps = decide(run, found.complete, journals, most)
    claims = [Claim(batch=b, ready=ready, run=run, at=_now()) for b, ready in steps.new.items()]
    claims += [held.claim.model_copy(update={"run": run, "at": _now()}) for held in steps.swap.values()]
    if claims:
        journal = Journal(run=run, since=_now(), batches=[claim.batch for claim in claims])
        bus.put(f"{folder}/{uuid.uuid4().hex[:16]}.json", _to_json(journal), only_new=True)
    held = in_threads(lambda claim: _take(bus, claim, steps.swap.get(claim.batch)), claims)
    taken = {claim.batch for claim, mine in zip(claims, held, strict=True) if mine}
    bus.delete([each.name for each in journals if is_finished(each, run, taken, _now())])
    before = {batch: steps.swap[batch].claim.run for batch in taken.intersection(steps.swap)}
    lost = {batch: of for batch, of in before.items() if of != run}
    return Report(sorted(taken), found.refused, found.incomplete, lost, steps.left, found.more_incomplete)


def pending(bus: Bus) -> Collection[str]:
    """Return the batches that are complete and not claimed, of whatever stage."""
    return survey(bus, incomplete=False, stage=None).complete


def journals_of(stage: str) -> str:
    """Return the folder of the journals of batches for a stage."""
    return JOURNALS if stage == DEFAULT_STAGE else f"{JOURNALS}/{stage}"


def stage_of(ready: Ready) -> str:
    """Return the stage that a delivery is for: the one it names, or else the one that knows a file of it.

    Raises:
        BadInput: it names a stage that reads no deliveries.
    """
    known = {stage.name: stage.source.files for stage in installed() if stage.source}
    if ready.stage and ready.stage not in known:
        raise BadInput(f"inbox/{ready.batch}/{READY}: stage: {quote(ready.stage)}: is not one of: {', '.join(known)}")
    paths = [file.path for file in ready.files]
    matches = (name for name, patterns in known.items() if any(fnmatch.filter(paths, each) for each in patterns))
    return ready.stage or next(matches, DEFAULT_STAGE)


def survey(bus: Bus, *, incomplete: bool = True, stage: str | None = DEFAULT_STAGE) -> Survey:
    """List the inbox's batches without a claim: two or three listings, and a request for each new batch.

    Args:
        bus: the bucket.
        incomplete: also query since when batches are incomplete: a request for each, `MAX_DATED` at most.
        stage: only complete batches for this stage; None: all.
    """
    claimed = set(_names(bus, CLAIMS))
    names = bus.folders("inbox")
    strange = [f"inbox/{quote(name)}: not a batch id: ignored" for name in names if not PARTITION.fullmatch(name)]
    new = [name for name in names if PARTITION.fullmatch(name) and name not in claimed]
    withdrawn = Withdrawn(bus)
    gone = {name: record.why for name in new if (record := withdrawn.get(name))}
    strange += [f"inbox/{name}: the batch was {why}" for name, why in gone.items()]
    new = [name for name in new if name not in gone]
    judged = dict(zip(new, in_threads(lambda batch: _judge(bus, batch), new), strict=True))
    bad = [verdict.refusal for verdict in judged.values() if verdict.refusal]
    complete = {b: verdict.ready for b, verdict in judged.items() if verdict.ready and stage in (None, verdict.stage)}
    absent = [batch for batch, verdict in judged.items() if verdict == ABSENT]
    if not incomplete:
        return Survey(complete, [*strange, *bad])
    since, unlisted = _last_writes(bus, absent[:MAX_DATED])
    return Survey(complete, [*strange, *bad, *unlisted], since, max(0, len(absent) - MAX_DATED))


@dataclass(frozen=True)
class Verdict:
    """The validation result of a batch's READY.json: its SHA-256, the rejection reason, or, with neither, absent."""

    ready: str = ""
    refusal: str = ""
    stage: str = ""


ABSENT = Verdict()
_JUDGED: dict[Head, Verdict] = {}
"""Results by listing: a poll every few seconds reads each READY.json once, invalid and pending ones included."""
MAX_JUDGED = 10_000


def _judge(bus: Bus, batch: str) -> Verdict:
    head = bus.head(f"inbox/{batch}/{READY}")
    if head is None:
        return ABSENT
    verdict = _JUDGED.get(head) or _read_and_judge(bus, batch)
    if verdict != ABSENT:
        if len(_JUDGED) >= MAX_JUDGED:
            _JUDGED.clear()
        _JUDGED[head] = verdict
    return verdict


def _read_and_judge(bus: Bus, batch: str) -> Verdict:
    data = find_ready(bus, batch)
    if data is None:
        return ABSENT
    try:
        stage = stage_of(parse_ready(data, batch))
    except BadInput as error:
        return Verdict(refusal=f"{error}: not registered until it is fixed")
    return Verdict(digest(data), stage=stage)


def _last_writes(bus: Bus, batches: Sequence[str]) -> tuple[dict[str, datetime], list[str]]:
    """Return batch to the time of the last write among its first files, and a line for each that cannot be listed."""

    def look(batch: str) -> datetime | str | None:
        try:
            return max((file.modified for file in bus.first_page(f"inbox/{batch}")), default=None)
        except BadInput as error:
            return str(error)

    found = dict(zip(batches, in_threads(look, batches), strict=True))
    since = {batch: seen for batch, seen in found.items() if isinstance(seen, datetime)}
    return since, [seen for seen in found.values() if isinstance(seen, str)]


def _names(bus: Bus, folder: str) -> Iterator[str]:
    """Return the names of the JSON files directly below a folder."""
    return (name.removesuffix(".json") for name in bus.files(folder) if name.endswith(".json"))


def _look_up(bus: Bus, key: str, scheduler: Scheduler) -> Open | None:
    """Return a journal with the state of its batches; None when another run has just deleted it."""
    found = _read(bus, key, Journal)
    if found is None:
        return None
    journal = found[0]
    since = journal.since - CLOCKS_APART
    if scheduler.registered(journal.run, since) is None:  # then its claims, a request each, are not needed
        return Open(key, journal, {}, False, None)
    read = in_threads(lambda batch: _read(bus, f"{CLAIMS}/{batch}.json", Claim), journal.batches)
    claims = {each[0].batch: Held(*each) for each in read if each}
    return Open(key, journal, claims, scheduler.has_ended(journal.run), scheduler.registered(journal.run, since))


def _take(bus: Bus, claim: Claim, instead: Held | None) -> bool:
    """Claim a batch, replacing claim `instead` if given; return whether this run holds it now."""
    key = f"{CLAIMS}/{claim.batch}.json"
    try:
        bus.put(key, _to_json(claim), only_new=instead is None, if_tag=instead.tag if instead else None)
    except Conflict:  # another run was first, or this put, retried after a lost response
        found = _read(bus, key, Claim)
        return found is not None and found[0].run == claim.run
    return True


def _to_json(model: BaseModel) -> bytes:
    return json.dumps(model.model_dump(mode="json"), indent=1).encode()


def _read(bus: Bus, key: str, model: type[M]) -> tuple[M, str] | None:
    """Return a parsed object of this module with its tag; None when it does not exist.

    Raises:
        Corrupt: it is not valid.
    """
    found = bus.get_tagged(key)
    if found is None:
        return None
    try:
        return model.model_validate_json(found[0]), found[1]
    except ValidationError as error:
        raise Corrupt(f"{key}: not valid") from error


def _now() -> datetime:
    return datetime.now(UTC)
