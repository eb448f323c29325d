"""Decide about updates with pure functions over a small state: what to install, which slot runs, what is banned.

    state = begin(state, "b", Installed("r2", sha256))      # slot b, written complete, goes on trial
    state = start(state, rules, now)                        # counts a start, during a trial only
    state = accept(state, subject)   or   reject(state, subject, reason, now)   or   withdraw(state, subject, ...)

A release is *banned* for what is its own fault, and *rests* after what is not (camera, disk, power, clock, server).
Both end by themselves; a ban also ends when the ring's file asks for another attempt. Times are Unix seconds of the
device's clock as `Slots.now` corrects it.

What is never done: overwrite the only proven release, run nothing while a slot holds something whole, blame a release
for what another one did.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

Slot = Literal["a", "b"]
SLOTS: tuple[Slot, Slot] = ("a", "b")

BAN_S = 30 * 86_400.0
"""Length of the first ban of a release; each further one is twice as long, up to a year."""
MAX_BAN_S = 365 * 86_400.0
REST_S = 60.0
"""Length of the first rest of a release; each further one is twice as long, up to an hour."""
MAX_REST_S = 3600.0
KEPT = 32
"""Bans and rests that are remembered, the newest: the state stays small."""
MAX_REASON = 400
"""Characters of a reason; longer ones are cut."""


@dataclass(frozen=True)
class Installed:
    """A release as offered: its id, and the SHA-256 of its bundle, which identifies it."""

    release: str
    sha256: str
    attempt: int = field(default=0, compare=False)
    """How often an operator asked for another attempt at it: bans of earlier attempts do not hold any more."""


@dataclass(frozen=True)
class Subject:
    """What a piece of evidence is about: one start of one release in one slot, for one trial."""

    slot: Slot
    installed: Installed
    start: int
    """Counts the starts of detectors in this run of the agent."""
    trial: int | None = None
    """Number of the trial that it was started in; None: outside a trial."""


@dataclass(frozen=True)
class Trial:
    """The slot on trial."""

    slot: Slot
    number: int = 0
    """Tells this trial from every other one of the agent's run."""
    starts: int = 0
    """Starts whose end the agent did not see, the one under way included."""
    crashes: int = 0
    """Ends of the detector that were its own fault."""
    hindrances: int = 0
    """Ends of the detector that were not."""


@dataclass(frozen=True)
class Ban:
    """A release that is not tried for a time, because of its own fault."""

    installed: Installed
    reason: str
    until: float
    times: int = 1


@dataclass(frozen=True)
class Rest:
    """A release that is not tried for a while, because of its surroundings."""

    installed: Installed
    reason: str
    until: float
    times: int = 1


@dataclass(frozen=True)
class State:
    """The state of updates that survives a power cut.

    Raises:
        ValueError: the parts contradict one another.
    """

    slots: Mapping[Slot, Installed] = field(default_factory=dict)
    """The release complete in each slot; a slot being written is absent."""
    proven: frozenset[Slot] = frozenset()
    """The slots whose release passed a trial on this device."""
    active: Slot | None = None
    """The slot that runs outside a trial."""
    trial: Trial | None = None
    bans: tuple[Ban, ...] = ()
    """Oldest first."""
    rests: tuple[Rest, ...] = ()
    """Oldest first."""
    trials: int = 0
    """Number of the newest trial."""

    def __post_init__(self) -> None:
        on_trial = self.trial.slot if self.trial else None
        used = {*self.slots, *self.proven, *filter(None, (self.active, on_trial))}
        if not used <= set(SLOTS) or not used <= set(self.slots):
            raise ValueError("a slot is in use that holds nothing")
        if on_trial and on_trial in (self.active, *self.proven):
            raise ValueError("a good slot is on trial")


@dataclass(frozen=True)
class Rules:
    """The conditions for passing a trial."""

    inferences: int = 20
    """Real frames that must have been processed."""
    max_error_share: float = 0.05
    """Share of them that may fail."""
    deadline_s: float = 60.0
    """Seconds that one start has to pass."""
    crashes: int = 3
    """Ends of the detector by its own fault that end a trial."""
    starts: int = 4
    """Starts that the device or its agent did not survive, or ends by no fault of the release, before it rests."""
    rate_hz: float | None = 10.0
    """Frames a second that the camera is asked for; None: the device has no camera."""


class Step(Enum):
    """The action for an offer."""

    KEEP = "keep"  # running, on trial, or being repaired
    HOLD = "hold"  # banned, or at rest
    INSTALL = "install"
    RETRY = "retry"  # complete in the other slot


def boots(state: State, damaged: Collection[Slot] = ()) -> Slot | None:
    """Return the slot to run: the one on trial, else the good one, else the best that is left; none is damaged.

    The best that is left: a proven release before one that is not banned before one that is.
    """
    proven = [slot for slot in SLOTS if slot in state.proven]
    clean = [slot for slot in SLOTS if slot in state.slots and not ban_of(state, state.slots[slot])]
    on_trial = state.trial.slot if state.trial else None
    wished = (on_trial, state.active, *proven, *clean, *SLOTS)
    return next((slot for slot in wished if slot in state.slots and slot not in damaged), None)


def running(state: State, damaged: Collection[Slot] = ()) -> Installed | None:
    """Return the release in the slot to run."""
    slot = boots(state, damaged)
    return state.slots[slot] if slot else None


def other(slot: Slot) -> Slot:
    """Return the other slot."""
    return "b" if slot == "a" else "a"


def free_slot(state: State, damaged: Collection[Slot] = ()) -> Slot:
    """Return the slot that may be overwritten: not the good one, and never the only one that is whole.

    During a trial beside a good slot it is the one on trial: what is written there ends the trial.
    """
    keep = state.active if state.active and state.active not in damaged else boots(state, damaged)
    return other(keep) if keep else "a"


def slot_with(state: State, offer: Installed, damaged: Collection[Slot] = ()) -> Slot | None:
    """Return the slot that holds an offer whole."""
    held = (slot for slot in SLOTS if slot in state.slots and slot not in damaged)
    return next((slot for slot in held if state.slots[slot].sha256 == offer.sha256), None)


def ban_of(state: State, installed: Installed) -> Ban | None:
    """Return the ban of a release, over or not."""
    return next((ban for ban in reversed(state.bans) if ban.installed.sha256 == installed.sha256), None)


def rest_of(state: State, installed: Installed) -> Rest | None:
    """Return the rest of a release, over or not."""
    return next((rest for rest in reversed(state.rests) if rest.installed.sha256 == installed.sha256), None)


def held_back(state: State, offer: Installed, now: float) -> str:
    """Return why an offer is not tried at the time `now`; empty: it may be.

    An end that is further away than any is made was set by a clock that ran ahead: it does not count.
    """
    ban, rest = ban_of(state, offer), rest_of(state, offer)
    if ban and offer.attempt <= ban.installed.attempt and 0 < ban.until - now <= MAX_BAN_S:
        return f"failed: {ban.reason}"
    if rest and 0 < rest.until - now <= MAX_REST_S:
        return f"rests: {rest.reason}"
    return ""


def decide(state: State, offer: Installed, now: float, damaged: Collection[Slot] = ()) -> Step:
    """Return the action for what the ring offers."""
    slot = slot_with(state, offer, damaged)
    tried = (*state.proven, state.trial and state.trial.slot)
    if slot and slot == boots(state, damaged) and slot in tried:
        return Step.KEEP
    if slot and slot == state.active:  # the ring went back while another release is on trial
        return Step.RETRY
    if held_back(state, offer, now):
        return Step.HOLD
    if slot is None and slot_with(state, offer):
        return Step.KEEP  # a damaged slot holds it: it is repaired, and not tried again for that
    return Step.RETRY if slot else Step.INSTALL


def clear(state: State, slot: Slot) -> State:
    """Drop a slot from the state, before it is overwritten or because its content is damaged."""
    kept = {name: held for name, held in state.slots.items() if name != slot}
    proven = state.proven - {slot}
    good = state.active if state.active != slot else next((name for name in SLOTS if name in proven), None)
    trial = None if state.trial and state.trial.slot == slot else state.trial
    return _try_what_is_left(replace(state, slots=kept, proven=proven, active=good, trial=trial))


def begin(state: State, slot: Slot, offer: Installed) -> State:
    """Record that a slot holds the offered release complete, and put it on trial; another trial ends.

    An offer that the good slot holds needs no trial.

    Raises:
        ValueError: the slot is the good one, and holds another release.
    """
    if slot == state.active:
        if state.slots[slot].sha256 != offer.sha256:
            raise ValueError(f"slot {slot} is the good one")
        return replace(state, trial=None)
    cleared = clear(replace(state, trial=None), slot)
    return _put_on_trial(replace(cleared, slots={**cleared.slots, slot: offer}), slot)


def _put_on_trial(state: State, slot: Slot) -> State:
    number = state.trials + 1
    return replace(state, trial=Trial(slot, number), trials=number)


def _try_what_is_left(state: State) -> State:
    """Put the slot that runs now on trial if it is not proven, unless it is banned."""
    slot = boots(state)
    if state.trial or state.active or slot is None or ban_of(state, state.slots[slot]):
        return state
    return _put_on_trial(state, slot)


def is_about(state: State, subject: Subject) -> bool:
    """Return whether the trial is the one that a detector was started in, of that slot and release."""
    return (
        state.trial is not None
        and state.trial.slot == subject.slot
        and state.trial.number == subject.trial
        and state.slots[subject.slot] == subject.installed
    )


def start(state: State, rules: Rules, now: float) -> State:
    """Count a start of the slot on trial, or let its release rest after too many; outside a trial change nothing.

    A start whose end nobody saw is a power cut, or an agent that was killed: no release is banned for it.
    """
    if state.trial is None:
        return state
    if state.trial.starts >= rules.starts and state.active:
        return _rest(state, f"the device or its agent stopped in each of {rules.starts} starts", now)
    return replace(state, trial=replace(state.trial, starts=state.trial.starts + 1))


def crashed(state: State, subject: Subject, rules: Rules, reason: str, now: float) -> State:
    """Count an end of the detector on trial by its own fault, or ban its release after too many."""
    if state.trial is None or not is_about(state, subject):
        return state
    trial = replace(state.trial, starts=max(state.trial.starts - 1, 0), crashes=state.trial.crashes + 1)
    state = replace(state, trial=trial)
    return reject(state, subject, reason, now) if trial.crashes >= rules.crashes else state


def hindered(state: State, subject: Subject, rules: Rules, reason: str, now: float) -> State:
    """Count an end of the detector on trial that is not its fault, or let its release rest after too many."""
    if state.trial is None or not is_about(state, subject):
        return state
    trial = replace(state.trial, starts=max(state.trial.starts - 1, 0), hindrances=state.trial.hindrances + 1)
    state = replace(state, trial=trial)
    return withdraw(state, subject, reason, now) if trial.hindrances >= rules.starts else state


def accept(state: State, subject: Subject) -> State:
    """Mark the release on trial as the good one and end the trial; lift its bans and end its rest.

    How often it rested is remembered: one that passes again and again, and falls back each time, rests ever longer.
    """
    if not is_about(state, subject):
        return state
    proven = state.proven | {subject.slot}
    sha256 = subject.installed.sha256
    rests = tuple(replace(each, until=0.0) if each.installed.sha256 == sha256 else each for each in state.rests)
    accepted = unban(replace(state, active=subject.slot, proven=proven, trial=None), [sha256])
    return replace(accepted, rests=rests)


def reject(state: State, subject: Subject, reason: str, now: float) -> State:
    """End the trial by the release's own fault, and ban it; the good slot runs again.

    With no good slot the other one goes on trial; with nothing else the release runs on, banned.
    """
    if not is_about(state, subject):
        return state
    return _try_what_is_left(replace(ban(state, state.slots[subject.slot], reason, now), trial=None))


def withdraw(state: State, subject: Subject, reason: str, now: float) -> State:
    """End the trial without blaming the release, which rests; the good slot runs again.

    With nothing to go back to, the trial goes on.
    """
    return _rest(state, reason, now) if is_about(state, subject) else state


def _rest(state: State, reason: str, now: float) -> State:
    if state.trial is None or not state.active:
        return state
    return replace(let_rest(state, state.slots[state.trial.slot], reason, now), trial=None)


def let_rest(state: State, installed: Installed, reason: str, now: float) -> State:
    """Let a release rest, for twice as long as the last time."""
    before = rest_of(state, installed)
    times = before.times + 1 if before else 1
    rest = Rest(installed, reason[:MAX_REASON], now + min(REST_S * 2 ** min(times - 1, 30), MAX_REST_S), times)
    others = [each for each in state.rests if each.installed.sha256 != installed.sha256]
    return replace(state, rests=(*others, rest)[-KEPT:])


def ban(state: State, installed: Installed, reason: str, now: float) -> State:
    """Ban a release, for twice as long as the last time."""
    before = ban_of(state, installed)
    times = before.times + 1 if before else 1
    made = Ban(installed, reason[:MAX_REASON], now + min(BAN_S * 2 ** min(times - 1, 30), MAX_BAN_S), times)
    others = [each for each in state.bans if each.installed.sha256 != installed.sha256]
    return replace(state, bans=(*others, made)[-KEPT:])


def unban(state: State, hashes: Sequence[str]) -> State:
    """Lift the bans and rests of releases, by the SHA-256 of their bundle."""
    return replace(
        state,
        bans=tuple(each for each in state.bans if each.installed.sha256 not in hashes),
        rests=tuple(each for each in state.rests if each.installed.sha256 not in hashes),
    )


def fall_back(state: State, subject: Subject, reason: str, now: float, own_fault: bool) -> State:
    """Go back from a good release that ends again and again to the proven one in the other slot.

    It is banned if that is its own fault, else it rests. Without a proven release in the other slot nothing changes.
    """
    if state.trial or state.active != subject.slot or state.slots[subject.slot] != subject.installed:
        return state
    if other(subject.slot) not in state.proven:
        return state
    after = (ban if own_fault else let_rest)(state, state.slots[subject.slot], reason, now)
    return replace(after, active=other(subject.slot), proven=state.proven - {subject.slot})
