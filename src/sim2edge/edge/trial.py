"""Decide about updates with pure functions over a small state: what to install, which slot runs, what is banned.

    state = begin(state, "b", Installed("r2", sha256))      # slot b, written complete, goes on trial
    state = start(state, rules, now)                        # counts a start, during a trial only
    state = accept(state, subject)   or   reject(state, subject, reason, now)   or   withdraw(state, subject, ...)

A release is *banned* for what is its own fault, and *rests* after what is not (camera, disk, power, clock, server). Both
end by themselves; a ban also ends when the ring's file asks for another attempt. Times are Unix seconds of the device's
clock as `clock.now` corrects it.
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
"""Length of the first rest of a release; each further one is twice as long, up to a day."""
MAX_REST_S = 86_400.0
KEPT = 32
"""Bans and rests that are remembered, the newest: the state stays small."""


@dataclass(frozen=True)
class Installed:
    """A release as offered: its id, and the SHA-256 of its bundle, which identifies it."""

    release: str
    sha256: str
    attempt: int = field(default=0, compare=False)
    """How often an operator asked for another attempt at it: bans of earlier attempts do not hold any more."""


@dataclass(frozen=True)
class Subject:
    """What a piece of evidence is about: one start of one release in one slot."""

    slot: Slot
    installed: Installed
    start: int
    """Counts the starts of detectors in this run of the agent."""


@dataclass(frozen=True)
class Trial:
    """The slot on trial."""

    slot: Slot
    starts: int = 0
    """Starts whose end the agent did not see, the one under way included."""
    crashes: int = 0
    """Ends of the detector that were its own fault."""


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
    """Starts in a trial, power cuts included, after which the release rests."""


class Step(Enum):
    """The action for an offer."""

    KEEP = "keep"  # running, or on trial
    HOLD = "hold"  # banned, or at rest
    INSTALL = "install"
    RETRY = "retry"  # complete in the other slot


def boots(state: State, damaged: Collection[Slot] = ()) -> Slot | None:
    """Return the slot to run: the one on trial, else the good one, else any that holds a release; none is damaged."""
    wished = (state.trial and state.trial.slot, state.active, *SLOTS)
    return next((slot for slot in wished if slot in state.slots and slot not in damaged), None)


def running(state: State) -> Installed | None:
    """Return the release in the slot to run."""
    slot = boots(state)
    return state.slots[slot] if slot else None


def other(slot: Slot) -> Slot:
    """Return the other slot."""
    return "b" if slot == "a" else "a"


def free_slot(state: State) -> Slot:
    """Return the slot that may be overwritten: never a proven one that is all there is, never the good one.

    During a trial beside a good slot it is the one on trial: what is written there ends the trial.
    """
    if state.active:
        return other(state.active)
    now = boots(state)
    return other(now) if now else "a"


def ban_of(state: State, installed: Installed) -> Ban | None:
    """Return the newest ban of a release, over or not."""
    return next((ban for ban in reversed(state.bans) if ban.installed.sha256 == installed.sha256), None)


def rest_of(state: State, installed: Installed) -> Rest | None:
    """Return the newest rest of a release, over or not."""
    return next((rest for rest in reversed(state.rests) if rest.installed.sha256 == installed.sha256), None)


def held_back(state: State, offer: Installed, now: float) -> str:
    """Return why an offer is not tried at the time `now`; empty: it may be."""
    ban, rest = ban_of(state, offer), rest_of(state, offer)
    if ban and offer.attempt <= ban.installed.attempt and now < ban.until:
        return f"failed: {ban.reason}"
    if rest and now < rest.until:
        return f"rests: {rest.reason}"
    return ""


def decide(state: State, offer: Installed, now: float) -> Step:
    """Return the action for what the ring offers."""
    runs = running(state)
    if runs and runs.sha256 == offer.sha256:
        return Step.KEEP
    if held_back(state, offer, now):
        return Step.HOLD
    held = state.slots.get(other(boots(state) or "b"))
    return Step.RETRY if held and held.sha256 == offer.sha256 else Step.INSTALL


def clear(state: State, slot: Slot) -> State:
    """Drop a slot from the state, before it is overwritten or because its content is damaged."""
    kept = {name: held for name, held in state.slots.items() if name != slot}
    on_trial = state.trial and state.trial.slot == slot
    good = state.active if state.active != slot else next((name for name in kept if name in state.proven), None)
    trial = None if on_trial or (state.trial and good == state.trial.slot) else state.trial
    return replace(state, slots=kept, proven=state.proven - {slot}, active=good, trial=trial)


def begin(state: State, slot: Slot, offer: Installed) -> State:
    """Record that a slot holds the offered release complete, and put it on trial; another trial ends.

    Raises:
        ValueError: the slot is the good one.
    """
    if slot == state.active:
        raise ValueError(f"slot {slot} is the good one")
    cleared = clear(state, slot)
    return replace(cleared, slots={**cleared.slots, slot: offer}, trial=Trial(slot))


def is_about(state: State, subject: Subject) -> bool:
    """Return whether the trial is of that slot and release."""
    return (
        state.trial is not None
        and state.trial.slot == subject.slot
        and state.slots[subject.slot] == subject.installed
    )


def start(state: State, rules: Rules, now: float) -> State:
    """Count a start of the slot on trial, or let its release rest after too many; outside a trial change nothing.

    A start whose end nobody saw is a power cut, or an agent that was killed: no release is banned for it.
    """
    if state.trial is None:
        return state
    if state.trial.starts >= rules.starts:
        return _rest(state, f"the device or its agent stopped in each of {rules.starts} starts", now)
    return replace(state, trial=replace(state.trial, starts=state.trial.starts + 1))


def crashed(state: State, subject: Subject, rules: Rules, reason: str, now: float) -> State:
    """Count an end of the detector on trial by its own fault, or ban its release after too many."""
    if state.trial is None or not is_about(state, subject):
        return state
    trial = replace(state.trial, starts=max(state.trial.starts - 1, 0), crashes=state.trial.crashes + 1)
    state = replace(state, trial=trial)
    return reject(state, subject, reason, now) if trial.crashes >= rules.crashes else state


def ended(state: State, subject: Subject) -> State:
    """Take back the count of a start that ended, as the agent saw, without a fault of the release."""
    if state.trial is None or not is_about(state, subject):
        return state
    return replace(state, trial=replace(state.trial, starts=max(state.trial.starts - 1, 0)))


def accept(state: State, subject: Subject) -> State:
    """Mark the release on trial as the good one and end the trial; forget its bans and rests."""
    if not is_about(state, subject):
        return state
    sha256 = subject.installed.sha256
    return replace(
        state,
        active=subject.slot,
        proven=state.proven | {subject.slot},
        trial=None,
        bans=tuple(ban for ban in state.bans if ban.installed.sha256 != sha256),
        rests=tuple(rest for rest in state.rests if rest.installed.sha256 != sha256),
    )


def reject(state: State, subject: Subject, reason: str, now: float) -> State:
    """End the trial by the release's own fault, and ban it; the good slot runs again."""
    if state.trial is None or not is_about(state, subject):
        return state
    return replace(ban(state, state.slots[subject.slot], reason, now), trial=None)


def withdraw(state: State, subject: Subject, reason: str, now: float) -> State:
    """End the trial without blaming the release, which rests; the good slot runs again.

    With nothing to go back to, the trial goes on.
    """
    return _rest(state, reason, now) if is_about(state, subject) else state


def _rest(state: State, reason: str, now: float) -> State:
    if state.trial is None or not state.active:
        return state
    installed = state.slots[state.trial.slot]
    before = rest_of(state, installed)
    times = before.times + 1 if before else 1
    rest = Rest(installed, reason, now + min(REST_S * 2 ** (times - 1), MAX_REST_S), times)
    others = [each for each in state.rests if each.installed.sha256 != installed.sha256]
    return replace(state, trial=None, rests=(*others, rest)[-KEPT:])


def ban(state: State, installed: Installed, reason: str, now: float) -> State:
    """Ban a release, for twice as long as the last time."""
    before = ban_of(state, installed)
    times = before.times + 1 if before else 1
    made = Ban(installed, reason, now + min(BAN_S * 2 ** (times - 1), MAX_BAN_S), times)
    others = [each for each in state.bans if each.installed.sha256 != installed.sha256]
    return replace(state, bans=(*others, made)[-KEPT:])


def unban(state: State, hashes: Sequence[str]) -> State:
    """Lift the bans and rests of releases, by the SHA-256 of their bundle."""
    return replace(
        state,
        bans=tuple(each for each in state.bans if each.installed.sha256 not in hashes),
        rests=tuple(each for each in state.rests if each.installed.sha256 not in hashes),
    )


def fall_back(state: State, subject: Subject, reason: str, now: float) -> State:
    """Go back from a good release that fails by its own fault to the proven one in the other slot, and ban it.

    Without a proven release in the other slot nothing changes.
    """
    if state.trial or state.active != subject.slot or state.slots[subject.slot] != subject.installed:
        return state
    if other(subject.slot) not in state.proven:
        return state
    banned = ban(state, state.slots[subject.slot], reason, now)
    return replace(banned, active=other(subject.slot), proven=banned.proven - {subject.slot})
