"""Decide about updates with pure functions over a small state: whether to install, which slot boots, whether it passed.

    state = begin(state, Installed("r2", sha256))       # the free slot goes on trial
    state = next_attempt(state, rules)                  # counts a start, during a trial only
    verdict = judge(rules, "r2", evidence)
    state = accept(state)   or   reject(state, reason)   or   withdraw(state)

A rejected hash is never tried again; a withdrawn one, whose release is not to blame, may be.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any, Literal

Slot = Literal["a", "b"]
SLOTS: tuple[Slot, Slot] = ("a", "b")


@dataclass(frozen=True)
class Installed:
    """A release as offered: its id, and the SHA-256 of its bundle, which identifies it."""

    release: str
    sha256: str


@dataclass(frozen=True)
class Trial:
    """The slot on trial, and the number of its starts."""

    slot: Slot
    attempts: int = 0


@dataclass(frozen=True)
class Failure:
    """A release that failed, and why."""

    release: str
    sha256: str
    reason: str


@dataclass(frozen=True)
class State:
    """The state of updates that survives a power cut.

    Raises:
        ValueError: the parts contradict one another.
    """

    slots: Mapping[Slot, Installed] = field(default_factory=dict)
    """The release complete in each slot; a slot being written is absent."""
    active: Slot | None = None
    """The slot known to be good."""
    trial: Trial | None = None
    failures: tuple[Failure, ...] = ()
    """Each hash that is never tried again, oldest first."""

    def __post_init__(self) -> None:
        on_trial = self.trial.slot if self.trial else None
        if not set(self.slots) <= set(SLOTS) or any(s and s not in self.slots for s in (self.active, on_trial)):
            raise ValueError("a slot is in use that holds nothing")
        if on_trial and on_trial == self.active:
            raise ValueError("the good slot is on trial")


@dataclass(frozen=True)
class Rules:
    """The conditions for passing a trial."""

    inferences: int = 20
    """Real frames that must have been processed."""
    max_error_share: float = 0.05
    """Share of them that may fail."""
    deadline_s: float = 60.0
    """Seconds that one start has to pass."""
    attempts: int = 3
    """Starts in a trial, crashes and power cuts included."""


@dataclass(frozen=True)
class Evidence:
    """Observations of the release on trial since its last start."""

    elapsed_s: float
    contacted: bool
    """The server has been reached since the start."""
    release: str | None = None
    """The release that the service reports; None if it does not answer."""
    inferences: int = 0
    errors: int = 0
    camera_failed: bool = False
    """The last error came from the camera, not from the release."""


class Step(Enum):
    """The action for an offer."""

    KEEP = "keep"  # already running or on trial
    HOLD = "hold"  # it failed before, or rests
    INSTALL = "install"
    RETRY = "retry"  # complete in the free slot
    SUPERSEDE = "supersede"  # another release is on trial: end that trial first


class Outcome(Enum):
    """The state of a trial."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Verdict:
    """The state of a trial, and the reason for it."""

    outcome: Outcome
    reason: str = ""


PENDING = Verdict(Outcome.PENDING)


def boots(state: State) -> Slot | None:
    """Return the slot to run: the one on trial, else the good one."""
    return state.trial.slot if state.trial else state.active


def free_slot(state: State) -> Slot:
    """Return the slot that may be overwritten.

    Raises:
        ValueError: a trial is under way, which needs both slots.
    """
    if state.trial:
        raise ValueError("no slot is free during a trial")
    return "b" if state.active == "a" else "a"


def running(state: State) -> Installed | None:
    """Return the release in the slot to run."""
    slot = boots(state)
    return state.slots[slot] if slot else None


def failure_of(state: State, sha256: str) -> Failure | None:
    """Return the failure that bars a hash from another trial; None if it may be tried."""
    return next((failure for failure in state.failures if failure.sha256 == sha256), None)


def decide(state: State, offer: Installed, resting: Collection[str] = ()) -> Step:
    """Return the action for the release that the ring offers; hashes in `resting` are not tried now."""
    now = running(state)
    if now and now.sha256 == offer.sha256:
        return Step.KEEP
    if state.trial:
        return Step.SUPERSEDE
    if failure_of(state, offer.sha256) or offer.sha256 in resting:
        return Step.HOLD
    held = state.slots.get(free_slot(state))
    return Step.RETRY if held and held.sha256 == offer.sha256 else Step.INSTALL


def clear(state: State) -> State:
    """Drop the free slot from the state, before it is overwritten."""
    slot = free_slot(state)
    return replace(state, slots={name: held for name, held in state.slots.items() if name != slot})


def begin(state: State, installed: Installed) -> State:
    """Record that the free slot holds `installed` complete, and put it on trial."""
    slot = free_slot(state)
    return replace(state, slots={**state.slots, slot: installed}, trial=Trial(slot))


def next_attempt(state: State, rules: Rules) -> State:
    """Count a start of the slot on trial, or reject it after too many; outside a trial return the state unchanged."""
    if state.trial is None:
        return state
    if state.trial.attempts >= rules.attempts:
        return reject(state, f"did not prove itself in {rules.attempts} starts")
    return replace(state, trial=replace(state.trial, attempts=state.trial.attempts + 1))


def accept(state: State) -> State:
    """Mark the release on trial as the good one and end the trial."""
    return replace(state, active=state.trial.slot, trial=None) if state.trial else state


def reject(state: State, reason: str) -> State:
    """End the trial and bar its hash from another; the old slot boots again."""
    now = running(state)
    return ban(withdraw(state), now, reason) if state.trial and now else state


def withdraw(state: State) -> State:
    """End the trial without blaming the release; the old slot boots again."""
    return replace(state, trial=None)


def ban(state: State, installed: Installed, reason: str) -> State:
    """Bar this hash from any trial."""
    if failure_of(state, installed.sha256):
        return state
    return replace(state, failures=(*state.failures, Failure(installed.release, installed.sha256, reason)))


def rest_s(withdrawals: int) -> float:
    """Return the rest after the n-th withdrawal of a release, in seconds: a minute, doubling up to an hour."""
    return min(60.0 * 2.0 ** (withdrawals - 1), 3600.0)


def judge(rules: Rules, release: str, evidence: Evidence) -> Verdict:
    """Decide whether `release` passed its trial, from the evidence since its last start."""
    tried = evidence.inferences + evidence.errors
    late = evidence.elapsed_s > rules.deadline_s
    if evidence.release != release:
        reason = "did not answer" if evidence.release is None else f"runs {evidence.release} instead"
        return Verdict(Outcome.FAILED, f"{reason} within {rules.deadline_s:g} s") if late else PENDING
    if tried >= rules.inferences and evidence.errors <= rules.max_error_share * tried:
        if evidence.contacted:
            return Verdict(Outcome.PASSED)
        return Verdict(Outcome.WITHDRAWN, "the server was not reached in the trial") if late else PENDING
    if evidence.camera_failed:
        return Verdict(Outcome.WITHDRAWN, "the camera gives no frames") if late else PENDING
    if tried >= rules.inferences:
        return Verdict(Outcome.FAILED, f"{evidence.errors} of {tried} inferences failed")
    return Verdict(Outcome.FAILED, f"only {tried} inferences in {rules.deadline_s:g} s") if late else PENDING


def to_json(state: State) -> bytes:
    """Return the state as stored on disk."""
    return json.dumps(asdict(state), indent=1).encode()


def from_json(data: bytes) -> State:
    """Parse a stored state.

    Raises:
        ValueError: the data is not a valid state.
    """
    try:
        content: dict[str, Any] = json.loads(data)
        return State(
            slots={slot: Installed(**held) for slot, held in content["slots"].items()},
            active=content["active"],
            trial=Trial(**content["trial"]) if content["trial"] else None,
            failures=tuple(Failure(**failure) for failure in content["failures"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a state: {error!r}") from error
