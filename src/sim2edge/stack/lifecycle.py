"""Decide the life of one service as a pure function: from the state of its process to its next phase."""

from dataclasses import dataclass
from enum import StrEnum

MAX_CRASHES = 5
CRASH_WINDOW_S = 120.0
RESTART_PAUSE_S = 1.0


class Phase(StrEnum):
    """The phase of a service."""

    PENDING = "pending"  # waits for its dependencies
    STARTING = "starting"
    HEALTHY = "healthy"
    UNRESPONSIVE = "unresponsive"  # runs, but its health check fails
    RESTARTING = "restarting"  # its process ended by itself; a new one follows shortly
    DONE = "done"  # a task of the start, finished
    FAILED = "failed"  # given up
    STOPPED = "stopped"


RUNNING = {Phase.STARTING, Phase.HEALTHY, Phase.UNRESPONSIVE}
SATISFIED = {Phase.HEALTHY, Phase.UNRESPONSIVE, Phase.DONE}
"""Phases in which a service counts as available to those that depend on it."""


@dataclass(frozen=True)
class Facts:
    """The state of a service at one moment."""

    phase: Phase
    needs_met: bool
    exit_code: int | None
    """None while the process runs, or before it ran."""
    healthy: bool | None
    """Result of the health check; None when it was not run, or there is none."""
    phase_age_s: float
    deadline_s: float
    is_task: bool
    was_healthy: bool
    """Whether it has been healthy since the stack started."""
    crashes: int
    """Exits of its process within the last `CRASH_WINDOW_S`, this one included."""


def next_phase(facts: Facts) -> Phase:
    """Return the next phase. A service that never became healthy is not restarted: its settings are wrong."""
    phase = facts.phase
    if phase is Phase.PENDING:
        return Phase.STARTING if facts.needs_met else phase
    if phase is Phase.RESTARTING:
        return Phase.STARTING if facts.phase_age_s >= RESTART_PAUSE_S else phase
    if phase not in RUNNING:
        return phase
    if facts.exit_code is not None:
        return _after_end(facts)
    if facts.healthy:
        return Phase.HEALTHY
    if phase is Phase.STARTING:
        return Phase.FAILED if facts.phase_age_s > facts.deadline_s else phase
    return phase if facts.healthy is None else Phase.UNRESPONSIVE


def _after_end(facts: Facts) -> Phase:
    if facts.is_task:
        return Phase.DONE if facts.exit_code == 0 else Phase.FAILED
    return Phase.RESTARTING if facts.was_healthy and facts.crashes <= MAX_CRASHES else Phase.FAILED
