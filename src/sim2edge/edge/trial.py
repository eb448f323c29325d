"""The decisions of an update, pure functions over a small state: what about this offer, which slot boots, did it pass.

    state = begin(state, Installed("r2", sha256))       # the free slot goes on trial
    state = next_attempt(state, rules)                  # each start in the trial is counted, and only there
    verdict = judge(rules, "r2", evidence)
    state = accept(state)   or   reject(state, reason)   or   withdraw(state)

A rejected hash is never tried again; a withdrawn one, where the release is not to blame, may be.
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
    """A release as it was offered: its id, and the SHA-256 of its bundle, by which it is known."""

    release: str
    sha256: str


@dataclass(frozen=True)
class Trial:
    """The slot on trial, and how often it has been started."""

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
    """All that an update has to remember over a power cut.

    Raises:
        ValueError: the parts contradict one another.
    """

    slots: Mapping[Slot, Installed] = field(default_factory=dict)
    """What lies complete in each slot; a slot being written is not in it."""
    active: Slot | None = None
    """The slot that is known to be good."""
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
    """When a trial has passed."""

    inferences: int = 20
    """Frames that must have been tried, real ones."""
    max_error_share: float = 0.05
    """Share of them that may fail."""
    deadline_s: float = 60.0
    """Seconds that one start has to prove itself."""
    attempts: int = 3
    """Starts in a trial, crashes and power cuts included."""


@dataclass(frozen=True)
class Evidence:
    """What is known of the release on trial since its last start."""

    elapsed_s: float
    contacted: bool
    """The server has been reached since the start."""
    release: str | None = None
    """What the service says it runs; None if it does not answer."""
    inferences: int = 0
    errors: int = 0
    camera_failed: bool = False
    """The last error came from the camera, not from the release."""


class Step(Enum):
    """What to do about an offer."""

    KEEP = "keep"  # it runs, or is on trial, already
    HOLD = "hold"  # it failed before, or rests
    INSTALL = "install"
    RETRY = "retry"  # it lies complete in the free slot
    SUPERSEDE = "supersede"  # another one is on trial: that ends first


class Outcome(Enum):
    """How a trial stands."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Verdict:
    """How a trial stands, and why."""

    outcome: Outcome
    reason: str = ""


PENDING = Verdict(Outcome.PENDING)


def boots(state: State) -> Slot | None:
    """Return the slot to run: the one on trial, else the good one."""
    return state.trial.slot if state.trial else state.active


def free_slot(state: State) -> Slot:
    """Return the slot that may be overwritten. Not during a trial: both are needed then."""
    if state.trial:
        raise ValueError("no slot is free during a trial")
    return "b" if state.active == "a" else "a"


def running(state: State) -> Installed | None:
    """Return what is in the slot to run."""
    slot = boots(state)
    return state.slots[slot] if slot else None


def failure_of(state: State, sha256: str) -> Failure | None:
    """Return why a hash is never tried again; None if it may be."""
    return next((failure for failure in state.failures if failure.sha256 == sha256), None)


def decide(state: State, offer: Installed, resting: Collection[str] = ()) -> Step:
    """Return what to do about what the ring has; `resting` are hashes not to be tried just now."""
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
    """Forget what lies in the free slot, before it is overwritten."""
    slot = free_slot(state)
    return replace(state, slots={name: held for name, held in state.slots.items() if name != slot})


def begin(state: State, installed: Installed) -> State:
    """Return the free slot holds `installed` complete: it goes on trial."""
    slot = free_slot(state)
    return replace(state, slots={**state.slots, slot: installed}, trial=Trial(slot))


def next_attempt(state: State, rules: Rules) -> State:
    """Count a start of the slot on trial; reject it if there were too many. Outside a trial nothing is counted."""
    if state.trial is None:
        return state
    if state.trial.attempts >= rules.attempts:
        return reject(state, f"did not prove itself in {rules.attempts} starts")
    return replace(state, trial=replace(state.trial, attempts=state.trial.attempts + 1))


def accept(state: State) -> State:
    """Return the release on trial is the good one now."""
    return replace(state, active=state.trial.slot, trial=None) if state.trial else state


def reject(state: State, reason: str) -> State:
    """End the trial; the old slot boots again, and this hash is never tried again."""
    now = running(state)
    return ban(withdraw(state), now, reason) if state.trial and now else state


def withdraw(state: State) -> State:
    """End the trial without blame; the old slot boots again."""
    return replace(state, trial=None)


def ban(state: State, installed: Installed, reason: str) -> State:
    """Never try this hash again."""
    if failure_of(state, installed.sha256):
        return state
    return replace(state, failures=(*state.failures, Failure(installed.release, installed.sha256, reason)))


def rest_s(withdrawals: int) -> float:
    """Return how long a release rests after it was withdrawn for the n-th time: a minute, doubling up to an hour."""
    return min(60.0 * 2.0 ** (withdrawals - 1), 3600.0)


def judge(rules: Rules, release: str, evidence: Evidence) -> Verdict:
    """Has `release` proved itself, by what is known since its last start?"""
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
    """Return the state as it lies on disk."""
    return json.dumps(asdict(state), indent=1).encode()


def from_json(data: bytes) -> State:
    """Read a state.

    Raises:
        ValueError: it is not one.
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
