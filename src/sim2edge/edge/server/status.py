"""Describe the device's status, for the fleet and for `sim2edge device status`, and tell what in it is news.

status = describe(device="pi-7", ...)
is_news(before, status)             # False: only counters moved
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.trial import Ban, Slot, State, Subject

Status = dict[str, Any]
COUNTERS = ("inferences", "errors", "latency_ms_p50", "updated")
"""What changes all the time: alone it is no news."""
MAX_MESSAGE = 600
MAX_BANS = 8
"""Bans that are reported, the newest."""


def describe(
    *,
    device: str,
    ring: str,
    state: State,
    damaged: Collection[Slot],
    duty: Subject | None,
    health: Mapping[str, Any],
    restarts: int,
    crashing: bool,
    loading: bool,
    port: int | None,
    message: str,
    faults: Mapping[str, str],
) -> Status:
    """Return the status as JSON, see docs/data-format.md.

    Args:
        device: its id.
        ring: its ring.
        state: the state of its updates.
        damaged: slots that cannot run.
        duty: what has the camera.
        health: the newest report of the detector on duty.
        restarts: of detectors since the agent's start.
        crashing: whether the detector ends again and again.
        loading: whether a detector is about to go on duty, and none is.
        port: of the detector's service.
        message: the last event.
        faults: what is wrong around the detector, in words.
    """
    wanted = trial.running(state, damaged)
    runs = duty.installed if duty else wanted
    others = [held.release for held in state.slots.values() if runs is None or held.sha256 != runs.sha256]
    bans = [describe_ban(ban) for ban in state.bans[-MAX_BANS:]]
    return {
        "device": device,
        "ring": ring,
        "release": runs.release if runs else None,
        "previous": others[0] if others else None,
        "state": name_state(state, duty, crashing, loading, health),
        "inferences": health.get("inferences", 0),
        "errors": health.get("errors", 0),
        "latency_ms_p50": health.get("latency_ms_p50"),
        "restarts": restarts,
        "port": port,
        "message": message[:MAX_MESSAGE],
        "failure": bans[-1] if bans else None,
        "bans": bans,
        "faults": {what: words[:MAX_MESSAGE] for what, words in faults.items()},
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def describe_ban(ban: Ban) -> Mapping[str, Any]:
    """Return a ban as JSON."""
    until = datetime.fromtimestamp(min(ban.until, 2**32), UTC).isoformat(timespec="seconds")
    return {**asdict(ban.installed), "reason": ban.reason, "until": until, "times": ban.times}


def name_state(state: State, duty: Subject | None, crashing: bool, loading: bool, health: Mapping[str, Any]) -> str:
    """Return the device's state in a word."""
    if crashing:
        return "crashing"
    if duty is None and loading:
        return "trial" if state.trial else "starting"
    if duty is None:
        return "down" if state.slots else "empty"
    if trial.is_about(state, duty):
        return "trial"
    return str(health.get("state", "starting"))


def is_news(before: Status | None, status: Status) -> bool:
    """Return whether more than counters changed."""
    if before is None:
        return True
    return any(value != before.get(name) for name, value in status.items() if name not in COUNTERS)
