"""Decide when open requests become a training: a pure function of the requests, the situation and the policy.

    decision = decide(requests, Situation(trainings=0, data_runs=3, last_training=None, batch="demo-2"), Policy(), now)
    decision.action, decision.why       ("wait", "3 runs are still making data, for at most 57 minutes more")

`docs/retraining.md` has the rules as a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sim2edge.retrain import FAILED, Request, is_given_back

HANDOVER_S = 5.0
"""Seconds that a training may take from the decision until its run exists."""
MIN_LOOK_S, MAX_LOOK_S = 2.0, 20.0
MAX_MINUTES = 365 * 24 * 60.0
"""The longest wait that a policy may set: a year."""


class Policy(BaseModel):
    """When to train: `retrain:` in `dags/train_model.yml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    new_batches: int | None = Field(1, ge=1, description="new batches that start a training; null: do not count them")
    new_frames: int | None = Field(None, ge=1, description="new frames that start a training; null: do not count them")
    debounce_s: float = Field(
        5.0, ge=0, le=3600, description="seconds without a new request before the open ones are joined"
    )
    cooldown_minutes: float = Field(
        0.0,
        ge=0,
        le=MAX_MINUTES,
        description="minutes from the start of a training to the earliest start of the next",
    )
    max_wait_minutes: float = Field(
        60.0, ge=0, le=MAX_MINUTES, description="minutes that new data waits for running data runs"
    )
    backfill_wait_hours: float = Field(
        24.0,
        ge=0,
        le=MAX_MINUTES / 60,
        description="hours without a new batch after which waiting for a backfill ends",
    )

    @model_validator(mode="after")
    def _check(self) -> "Policy":
        if self.new_batches is None and self.new_frames is None:
            raise ValueError("new_batches and new_frames are both null: new data would never be enough")
        return self


@dataclass(frozen=True)
class Situation:
    """The state of runs and data that the decision depends on."""

    trainings: int = 0
    """Training runs that are queued or running."""
    data_runs: int = 0
    """Runs that produce data, queued or running."""
    last_training: datetime | None = None
    """When the last training was decided on."""
    batch: str | None = None
    """The newest batch that has frames."""
    paused: bool = False
    """Whether trainings are paused."""


@dataclass(frozen=True)
class Decision:
    """An action and its reason."""

    action: Literal["train", "wait", "rest"]
    """Wait: poll again, time will decide. Rest: nothing to do until the next request."""
    why: str
    look_again_s: float = MIN_LOOK_S
    """Seconds until the next poll."""


def decide(requests: Sequence[Request], situation: Situation, policy: Policy, now: datetime) -> Decision:
    """Decide whether to train now, to wait, or to rest."""
    if not requests:
        return Decision("rest", "no open requests for a training")
    if all(map(is_given_back, requests)):
        return Decision("rest", describe_failure(requests))
    if situation.batch is None:
        return Decision("rest", "there are no frames to learn from yet")
    if situation.paused:
        return Decision("rest", f"train_model is paused: {len(requests)} requests are pending")
    if not is_urgent(requests) and (missing := what_is_missing(requests, policy)):
        return Decision("rest", missing)
    newest = max(request.submitted for request in requests)
    oldest = min(request.submitted for request in requests)
    look = min(max((now - oldest).total_seconds() / 10, MIN_LOOK_S), MAX_LOOK_S)
    waits = (
        wait_for_debounce(newest, oldest, policy, now),
        wait_for_training(situation, now),
        wait_for_cooldown(requests, situation, policy, now),
        wait_for_data(requests, situation, policy, now),
    )
    for left, why in filter(None, waits):
        return Decision("wait", why, min(look, max(left, 0.1)))
    return Decision("train", "; ".join(count_kinds(requests)))


def describe_failure(requests: Sequence[Request]) -> str:
    """Return, in words, why requests that failed trainings gave back start none."""
    trainings = ", ".join(sorted({str(request.evidence[FAILED]) for request in requests}))
    return f"{len(requests)} requests were given back by failed trainings ({trainings}): they join the next one"


Wait = tuple[float, str] | None
"""The longest time left, in seconds, and the reason; None: no wait."""


def is_urgent(requests: Sequence[Request]) -> bool:
    """Return whether one of the requests is for another reason than new data."""
    return any(request.kind != "data" for request in requests)


def is_backfill(requests: Sequence[Request]) -> bool:
    """Return whether one of the requests is for a backfill's data."""
    return any(request.kind == "data" and request.backfill for request in requests)


def what_is_missing(requests: Sequence[Request], policy: Policy) -> str | None:
    """Return, in words, how much new data is missing for a training; None when there is enough."""
    data = [request for request in requests if request.kind == "data"]
    batches, frames = len({request.batch for request in data}), sum(request.frames for request in data)
    counted = ((batches, policy.new_batches, "new batches"), (frames, policy.new_frames, "new frames"))
    known = [(have, enough, what) for have, enough, what in counted if enough is not None]
    if any(have >= enough for have, enough, _ in known):
        return None
    return "not enough yet: " + " and ".join(f"{have} of {enough} {what}" for have, enough, what in known)


def wait_for_debounce(newest: datetime, oldest: datetime, policy: Policy, now: datetime) -> Wait:
    """Wait until no more requests arrive, so that they are joined; at most for `max_wait_minutes`."""
    left = policy.debounce_s - (now - newest).total_seconds()
    if left <= 0 or now - oldest > timedelta(minutes=policy.max_wait_minutes, seconds=policy.debounce_s):
        return None
    return left, f"the newest request is {(now - newest).total_seconds():.0f} s old: waiting for others to join it"


def wait_for_training(situation: Situation, now: datetime) -> Wait:
    """Wait for the training that is running or about to start: one at a time."""
    if situation.trainings:
        return MAX_LOOK_S, "a training is running"
    last = situation.last_training
    if last and (left := HANDOVER_S - (now - last).total_seconds()) > 0:
        return left, "a training is about to start"
    return None


def wait_for_cooldown(requests: Sequence[Request], situation: Situation, policy: Policy, now: datetime) -> Wait:
    """Wait for the cool-down between trainings, unless a person requested one now."""
    if situation.last_training is None or any(request.now for request in requests):
        return None
    left = (situation.last_training + timedelta(minutes=policy.cooldown_minutes) - now).total_seconds()
    return (left, f"cool-down: {left / 60:.1f} minutes left after the last training") if left > 0 else None


def wait_for_data(requests: Sequence[Request], situation: Situation, policy: Policy, now: datetime) -> Wait:
    """Let new data wait for running data runs, so that a backfill is one training; no other request waits for them."""
    if is_urgent(requests) or not situation.data_runs:
        return None
    data = [request.submitted for request in requests]
    runs = f"{situation.data_runs} runs are still producing data"
    if is_backfill(requests):
        of_backfill = max(request.submitted for request in requests if request.backfill)
        left = (of_backfill + timedelta(hours=policy.backfill_wait_hours) - now).total_seconds()
        if left > 0:
            return left, f"{runs}, and a backfill ends in one training"
    left = (min(data) + timedelta(minutes=policy.max_wait_minutes) - now).total_seconds()
    return (left, f"{runs}, for at most {left / 60:.0f} minutes more") if left > 0 else None


def count_kinds(requests: Sequence[Request]) -> list[str]:
    """Return the number of requests of each kind, in words: `2 of kind drift`."""
    kinds = [request.kind for request in requests]
    return [f"{kinds.count(kind)} of kind {kind}" for kind in dict.fromkeys(kinds)]
