"""Describe the device's status, for the fleet and for `sim2edge device status`, and tell what in it is news.

    status = describe(device="pi-7", ...)
    is_news(before, status)             # False: only counters moved
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sim2edge.edge import trial
from sim2edge.edge.trial import State

Status = dict[str, Any]
COUNTERS = ("inferences", "errors", "latency_ms_p50", "updated")
"""What changes all the time: alone it is no news."""


def describe(
    *,
    device: str,
    ring: str,
    state: State,
    runs: str | None,
    health: Mapping[str, Any] | None,
    restarts: int,
    crashing: bool,
    port: int | None,
    message: str,
    faults: Mapping[str, str],
) -> Status:
    """Return the status as JSON, see docs/data-format.md."""
    health = health or {}
    wanted = trial.running(state)
    slot = trial.boots(state)
    others = [held.release for name, held in state.slots.items() if name != slot]
    newest = state.bans[-1] if state.bans else None
    return {
        "device": device,
        "ring": ring,
        "release": runs or (wanted.release if wanted else None),
        "previous": others[0] if others else None,
        "state": name_state(state, bool(runs), crashing, health),
        "inferences": health.get("inferences", 0),
        "errors": health.get("errors", 0),
        "latency_ms_p50": health.get("latency_ms_p50"),
        "restarts": restarts,
        "port": port,
        "message": message,
        "failure": {**asdict(newest.installed), "reason": newest.reason, "until": newest.until} if newest else None,
        "faults": dict(faults),
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def name_state(state: State, runs: bool, crashing: bool, health: Mapping[str, Any]) -> str:
    """Return the device's state in a word."""
    if not state.slots:
        return "empty"
    if not runs:
        return "crashing" if crashing else "down"
    if state.trial:
        return "trial"
    return "crashing" if crashing else str(health.get("state", "starting"))


def is_news(before: Status | None, status: Status) -> bool:
    """Return whether more than counters changed."""
    if before is None:
        return True
    return any(value != before.get(name) for name, value in status.items() if name not in COUNTERS)
