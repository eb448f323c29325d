"""What has arrived in the inbox: which batches are complete, and which of them a run of Airflow has registered.

    survey(bus)                        what lies in the inbox and is not registered; changes nothing
    register(bus, run, scheduler)      registers what is complete, once; says what it did
    waiting(bus)                       batches for which `register` would do something: what wakes it

    inbox/<batch>/READY.json           a complete batch (`inbox.py`)
    registered/<batch>.json            its claim: which run registered it, and which READY.json it saw
    registered/runs/<id>.json          the journal of a try: the batches it was about to claim; gone once it is finished

A batch is registered when the scheduler has an event for it, which starts its run; a claim says who gives that event.

**Each batch is registered once, whatever is killed when.** The scheduler takes the events of a task in the same
database transaction as its success, so a try gives the events of all its claims, or of none. A try

1. reads the journals. A batch that a run which has ended holds a claim on, and that has no event by it, was lost: the
   try takes it over. It reads the claims, then asks whether the run has ended, then for its events: one that has ended
   gives no more, and one that is cleared meanwhile renews its claims, so that 4 fails. A journal whose events cannot be
   told just now is left to a later run.
2. finds what is complete and has no claim; and, in the journal of an earlier try of its own run, what that one claimed.
3. writes all those batches into a journal of its own, which nobody changes, before it claims the first of them.
4. claims each: a new one where no claim is (If-None-Match), another in place of the very claim that it read (If-Match).
5. removes the journals of which nothing can be lost any more, and gives events for what it holds.

*Never lost*: killed before 4, a batch has no claim and is new to the next try. Killed after, it is in a journal, which
stays until a later run has seen that each batch in it has an event or a claim of somebody else; so a retry finds it, or
else, when the run has ended in whatever way (failed, marked as a success by hand, deleted), the next run does. A batch
that is taken over is in the new journal before the old one goes.

*Never twice*: two runs give events for a batch only if both held its claim. A claim passes on only by 1, when its
holder has ended without an event. A try that was taken for dead and still runs shares the claims of its run, but what
it gives is not taken: the scheduler refuses a try that it has given up. A run that is cleared after its success finds
its events, and gives none again.
"""

import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sim2edge.bus import Bus, Head, in_threads
from sim2edge.errors import BadInput, Conflict, Corrupt
from sim2edge.inbox import READY, digest, find_ready, parse_ready
from sim2edge.lines import quote
from sim2edge.manifest import PARTITION

CLAIMS = "registered"
JOURNALS = "registered/runs"
MAX_AT_ONCE = 500
"""Batches that one run registers: their events are one transaction of the scheduler's database. The rest comes next."""
MAX_TRY = timedelta(days=1)
"""A process that was taken for dead does not write after that: its task ends within minutes."""
CLOCKS_APART = timedelta(hours=1)
"""As far as the clocks of whoever writes claims and of Airflow may differ; S3 itself allows no more than 15 minutes."""
MAX_DATED = 500
"""Incomplete batches that are asked when they were written last: a request each, and anybody may begin a batch."""

M = TypeVar("M", bound=BaseModel)


class Claim(BaseModel):
    """`registered/<batch>.json`: who registered a batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: str
    ready: str
    """SHA-256 of the READY.json that was there."""
    run: str
    """The run of the registering DAG."""
    at: datetime


class Journal(BaseModel):
    """`registered/runs/<id>.json`: what a try was about to claim."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    since: datetime
    batches: Sequence[str]


class Scheduler(Protocol):
    """What is asked of Airflow."""

    def has_ended(self, run: str) -> bool:
        """Return whether no try of this run of the registering DAG is to come; also of a run that is gone."""

    def registered(self, run: str, since: datetime) -> Collection[str] | None:
        """Return the batches for which the run has given an event since then.

        None when that cannot be told just now.
        """


@dataclass(frozen=True)
class Survey:
    """What lies in the inbox and has no claim."""

    complete: Mapping[str, str] = field(default_factory=dict)
    """Batch to the SHA-256 of its READY.json, which is a good one."""
    refused: Sequence[str] = ()
    """A line for each name that is no batch id, and for each bad READY.json."""
    incomplete: Mapping[str, datetime] = field(default_factory=dict)
    """Batch without READY.json to the time of the last write seen in it."""
    more_incomplete: int = 0
    """Batches without READY.json beyond the first `MAX_DATED`."""


@dataclass(frozen=True)
class Report:
    """What a run did, and what it saw."""

    registered: Sequence[str]
    refused: Sequence[str]
    incomplete: Mapping[str, datetime]
    taken_over: Mapping[str, str]
    """Batch to the run that had claimed it and ended without registering it."""
    left: int
    """Complete batches that are to be registered by the next run."""
    more_incomplete: int = 0
    """As of `Survey`."""


@dataclass(frozen=True)
class Held:
    """A claim with the tag that a swap compares with."""

    claim: Claim
    tag: str


@dataclass(frozen=True)
class Open:
    """A journal that was found, what the scheduler knows of its run, and, if it can tell, the claims of its batches."""

    # Read in that order: see step 1 at the head of this module.

    name: str
    journal: Journal
    claims: Mapping[str, Held]
    ended: bool
    registered: Collection[str] | None

    @property
    def lost(self) -> Mapping[str, Held]:
        """The claims that its run holds without having given an event, as far as that can be told."""
        if self.registered is None:
            return {}
        own = {batch: held for batch, held in self.claims.items() if held.claim.run == self.journal.run}
        return {batch: held for batch, held in own.items() if batch not in self.registered}


@dataclass(frozen=True)
class Steps:
    """What a try has to claim."""

    new: Mapping[str, str]
    """Batch to READY.json's SHA-256: to be claimed where no claim is."""
    swap: Mapping[str, Held]
    """Batch to the claim that is to be replaced: this run's own of an earlier try, or that of a run that was lost."""
    left: int


def decide(run: str, complete: Mapping[str, str], journals: Sequence[Open], most: int = MAX_AT_ONCE) -> Steps:
    """What a try of `run` has to claim of the batches that are complete and unclaimed, and of those in the journals."""
    due = [each for each in journals if each.ended or each.journal.run == run]
    swap = {batch: held for each in due for batch, held in each.lost.items()}
    new = dict(sorted(complete.items())[: max(0, most - len(swap))])
    return Steps(new, swap, len(complete) - len(new))


def is_finished(each: Open, run: str, taken: Collection[str], now: datetime) -> bool:
    """Return whether a journal may go, when `run` has claimed what it has `taken`: nothing of it can be lost any more.

    A batch in it that nobody claimed may yet be claimed by a try that was taken for dead; for a day it is waited for.
    """
    kept = {batch for batch in each.claims if batch not in each.lost}
    finished = kept.union(taken).issuperset(each.journal.batches) or now - each.journal.since > MAX_TRY
    return each.ended and each.registered is not None and each.journal.run != run and finished


def register(bus: Bus, run: str, scheduler: Scheduler, most: int = MAX_AT_ONCE) -> Report:
    """Claim what is complete for `run`: see the head of this module. The caller gives an event for each `registered`.

    Raises:
        BadInput: the bus may not be read or written, or a claim is damaged.
    """
    journals = [each for name in _names(bus, JOURNALS) if (each := _look_up(bus, name, scheduler))]
    found = survey(bus)
    steps = decide(run, found.complete, journals, most)
    claims = [Claim(batch=b, ready=ready, run=run, at=_now()) for b, ready in steps.new.items()]
    claims += [held.claim.model_copy(update={"run": run, "at": _now()}) for held in steps.swap.values()]
    if claims:
        journal = Journal(run=run, since=_now(), batches=[claim.batch for claim in claims])
        bus.put(f"{JOURNALS}/{uuid.uuid4().hex[:16]}.json", _to_json(journal), only_new=True)
    held = in_threads(lambda claim: _take(bus, claim, steps.swap.get(claim.batch)), claims)
    taken = {claim.batch for claim, mine in zip(claims, held, strict=True) if mine}
    bus.delete([f"{JOURNALS}/{each.name}.json" for each in journals if is_finished(each, run, taken, _now())])
    before = {batch: steps.swap[batch].claim.run for batch in taken.intersection(steps.swap)}
    lost = {batch: of for batch, of in before.items() if of != run}
    return Report(sorted(taken), found.refused, found.incomplete, lost, steps.left, found.more_incomplete)


def pending(bus: Bus) -> Collection[str]:
    """Return the batches that are complete and not claimed."""
    return survey(bus, incomplete=False).complete


def survey(bus: Bus, *, incomplete: bool = True) -> Survey:
    """Look at what lies in the inbox and has no claim: two listings, and a look at each batch that is new.

    Args:
        bus: the bucket.
        incomplete: also ask since when batches are incomplete, which takes a request for each, `MAX_DATED` at most.
    """
    claimed = set(_names(bus, CLAIMS))
    names = bus.folders("inbox")
    strange = [f"inbox/{quote(name)}: not a batch id: left alone" for name in names if not PARTITION.fullmatch(name)]
    new = [name for name in names if PARTITION.fullmatch(name) and name not in claimed]
    judged = dict(zip(new, in_threads(lambda batch: _judge(bus, batch), new), strict=True))
    bad = [verdict.refusal for verdict in judged.values() if verdict.refusal]
    complete = {batch: verdict.ready for batch, verdict in judged.items() if verdict.ready}
    absent = [batch for batch, verdict in judged.items() if verdict == ABSENT]
    if not incomplete:
        return Survey(complete, [*strange, *bad])
    since, unlisted = _last_writes(bus, absent[:MAX_DATED])
    return Survey(complete, [*strange, *bad, *unlisted], since, max(0, len(absent) - MAX_DATED))


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a batch's READY.json: its SHA-256, or why it is refused, or, with neither, its absence."""

    ready: str = ""
    refusal: str = ""


ABSENT = Verdict()
_JUDGED: dict[Head, Verdict] = {}
"""Listings as they were: whoever looks every few seconds reads each once, the bad ones and those that have to wait."""
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
        parse_ready(data, batch)
    except BadInput as error:
        return Verdict(refusal=f"{error}: not registered until it is mended")
    return Verdict(digest(data))


def _last_writes(bus: Bus, batches: Sequence[str]) -> tuple[dict[str, datetime], list[str]]:
    """Batch to the time of the last write among its first files, and a line for each that cannot be listed."""

    def look(batch: str) -> datetime | str | None:
        try:
            return max((file.modified for file in bus.first_page(f"inbox/{batch}")), default=None)
        except BadInput as error:
            return str(error)

    found = dict(zip(batches, in_threads(look, batches), strict=True))
    since = {batch: seen for batch, seen in found.items() if isinstance(seen, datetime)}
    return since, [seen for seen in found.values() if isinstance(seen, str)]


def _names(bus: Bus, folder: str) -> Iterator[str]:
    """Return the names of the JSON files right below a folder."""
    return (name.removesuffix(".json") for name in bus.files(folder) if name.endswith(".json"))


def _look_up(bus: Bus, name: str, scheduler: Scheduler) -> Open | None:
    """Return a journal with what became of its batches; None when somebody has just finished it."""
    found = _read(bus, f"{JOURNALS}/{name}.json", Journal)
    if found is None:
        return None
    journal = found[0]
    since = journal.since - CLOCKS_APART
    if scheduler.registered(journal.run, since) is None:  # then its claims, a request each, decide nothing
        return Open(name, journal, {}, False, None)
    read = in_threads(lambda batch: _read(bus, f"{CLAIMS}/{batch}.json", Claim), journal.batches)
    claims = {each[0].batch: Held(*each) for each in read if each}
    return Open(name, journal, claims, scheduler.has_ended(journal.run), scheduler.registered(journal.run, since))


def _take(bus: Bus, claim: Claim, instead: Held | None) -> bool:
    """Claim a batch, `instead` of a claim that was read; whether this run holds it now."""
    key = f"{CLAIMS}/{claim.batch}.json"
    try:
        bus.put(key, _to_json(claim), only_new=instead is None, if_tag=instead.tag if instead else None)
    except Conflict:  # somebody was first: or it was this put itself, repeated after a lost answer
        found = _read(bus, key, Claim)
        return found is not None and found[0].run == claim.run
    return True


def _to_json(model: BaseModel) -> bytes:
    return json.dumps(model.model_dump(mode="json"), indent=1).encode()


def _read(bus: Bus, key: str, model: type[M]) -> tuple[M, str] | None:
    """Return an object of ours with its tag; None when it is not there.

    Raises:
        Corrupt: it is not what we wrote.
    """
    found = bus.get_tagged(key)
    if found is None:
        return None
    try:
        return model.model_validate_json(found[0]), found[1]
    except ValidationError as error:
        raise Corrupt(f"{key}: not what was written there") from error


def _now() -> datetime:
    return datetime.now(UTC)
