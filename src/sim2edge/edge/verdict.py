"""Judge a release on trial from what was seen of it, and tell its own faults from those of its surroundings.

    verdict = judge(rules, budgets, evidence)
    verdict.outcome, verdict.reason

Only what the release itself does can fail it: wrong answers, errors of its inferences, its crashes, more memory or
processor time than it declares. A camera without frames, a busy machine, a server out of reach, a full disk can delay
its trial and end it, but not condemn it. Processor time counts, not elapsed time: other programs do not add to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from sim2edge.edge.trial import Rules


class Phase(Enum):
    """What a detector was doing when it was last seen; its value is the byte that the detector writes."""

    START = b"s"  # imports, its files, the token
    LOAD = b"l"  # the model, the self-test
    CAMERA = b"c"
    INFERENCE = b"i"
    IDLE = b"w"


BLAMED = {Phase.LOAD: "loading the model", Phase.INFERENCE: "an inference"}
"""The phases in which an end or a hang is the release's own fault."""


class Outcome(Enum):
    """The state of a trial."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"
    """By the release's own fault."""
    WITHDRAWN = "withdrawn"
    """Because of its surroundings."""


@dataclass(frozen=True)
class Budgets:
    """What a release may use on this device; None: it declares nothing."""

    memory_mb: float | None = None
    cpu_ms_p95: float | None = None


@dataclass(frozen=True)
class Evidence:
    """What was seen of one start of a detector since it got the camera."""

    elapsed_s: float
    contacted: bool
    """The server was reached since the start."""
    silent_s: float = 0.0
    """Seconds since its last answer."""
    phase: Phase = Phase.IDLE
    inferences: int = 0
    inference_errors: int = 0
    camera_errors: int = 0
    """In a row."""
    last_inference_error: str = ""
    cpu_ms_p95: float | None = None
    memory_mb: float | None = None
    other_faults: Mapping[str, str] | None = None
    """Faults of the surroundings that the agent knows, in words: disk, clock."""


@dataclass(frozen=True)
class Verdict:
    """The state of a trial, and the reason for it."""

    outcome: Outcome
    reason: str = ""


PENDING = Verdict(Outcome.PENDING)
SILENT_S = 20.0
"""Seconds without an answer after which a detector hangs."""


def judge(rules: Rules, budgets: Budgets, evidence: Evidence) -> Verdict:
    """Decide about a release on trial."""
    if fault := find_fault(rules, budgets, evidence):
        return Verdict(Outcome.FAILED, fault)
    tried = evidence.inferences + evidence.inference_errors
    if tried >= rules.inferences and evidence.contacted and evidence.silent_s < SILENT_S:
        return Verdict(Outcome.PASSED)
    if evidence.elapsed_s <= rules.deadline_s:
        return PENDING
    return Verdict(Outcome.WITHDRAWN, find_hindrance(rules, evidence))


def find_fault(rules: Rules, budgets: Budgets, evidence: Evidence) -> str:
    """Return what the release itself did wrong; empty: nothing so far."""
    tried = evidence.inferences + evidence.inference_errors
    if tried >= rules.inferences and evidence.inference_errors > rules.max_error_share * tried:
        return f"{evidence.inference_errors} of {tried} inferences failed: {evidence.last_inference_error}"
    if evidence.silent_s >= SILENT_S and evidence.phase in BLAMED:
        return f"{BLAMED[evidence.phase]} does not end: no answer for {evidence.silent_s:.0f} s"
    if budgets.memory_mb and evidence.memory_mb and evidence.memory_mb > budgets.memory_mb:
        return f"uses {evidence.memory_mb:.0f} MB of memory; it declares {budgets.memory_mb:.0f}"
    enough = tried >= rules.inferences and budgets.cpu_ms_p95 and evidence.cpu_ms_p95
    if enough and evidence.cpu_ms_p95 > budgets.cpu_ms_p95:
        return f"an inference takes {evidence.cpu_ms_p95:.0f} ms of processor time; it declares {budgets.cpu_ms_p95:.0f}"
    return ""


def find_hindrance(rules: Rules, evidence: Evidence) -> str:
    """Return what kept a release from proving itself in time, in words."""
    if evidence.other_faults:
        return "; ".join(f"{what}: {words}" for what, words in sorted(evidence.other_faults.items()))
    if evidence.silent_s >= SILENT_S:
        return f"the detector does not answer, in {evidence.phase.name.lower()}"
    if evidence.camera_errors:
        return "the camera gives no frames"
    if evidence.inferences + evidence.inference_errors < rules.inferences:
        return f"only {evidence.inferences} frames came in {rules.deadline_s:g} s"
    return "the server was not reached in the trial"
