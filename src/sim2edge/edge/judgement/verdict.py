"""Judge a release on trial from what was seen of it, and tell its own faults from those of its surroundings.

    verdict = judge(rules, budgets, evidence)
    verdict.outcome, verdict.reason

Only what the release itself does can fail it: wrong answers, errors of its inferences, its crashes, more memory or
processor time than it declares. A camera without frames, a busy machine, a server out of reach, a full disk can delay
its trial and end it, but not condemn it. Processor time counts, not elapsed time: other programs do not add to it.
"""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from sim2edge.edge.judgement.trial import Rules


class Phase(Enum):
    """What a detector was doing when it was last seen; its value is the byte that the detector writes."""

    START = b"s"  # imports, its files, the token
    LOAD = b"l"  # the model, the self-test
    CAMERA = b"c"
    INFERENCE = b"i"
    IDLE = b"w"


BLAMED = {Phase.LOAD: "loading the model", Phase.INFERENCE: "an inference"}
"""The phases in which an end or a hang is the release's own fault."""
OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGBUS)
"""Signals that are no fault of a release; SIGBUS: a mapped file could not be read from the disk."""


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
    """Seconds for which it has owed an answer, or an inference has run, without those in which it could not work."""
    phase: Phase = Phase.IDLE
    inferences: int = 0
    inference_errors: int = 0
    camera_errors: int = 0
    """In a row."""
    machine_errors: int = 0
    """Inferences in a row that got no memory."""
    last_inference_error: str = ""
    last_camera_error: str = ""
    last_machine_error: str = ""
    cpu_ms_p95: float | None = None
    memory_mb: float | None = None
    """The least that the last readings say, without what the camera takes: one large picture is no use of a release."""
    newest_memory_mb: float | None = None
    """What the newest reading says."""
    other_faults: Mapping[str, str] = field(default_factory=dict)
    """Faults of the surroundings that the agent knows, in words: disk, clock."""


@dataclass(frozen=True)
class Verdict:
    """The state of a trial, and the reason for it."""

    outcome: Outcome
    reason: str = ""


PENDING = Verdict(Outcome.PENDING)
SILENT_S = 20.0
"""Seconds without an answer after which a detector hangs."""
SLOW_CAMERA = 10
"""A camera that gives frames, but few, has so many times the deadline."""
LIVE_CPU = 2.0
"""An inference may take so many times the declared processor time: caches are shared, processors slow down when hot.
The pre-flight measures it without a camera's load, against the bare budget."""
LIVE_MEMORY = 1.25
"""The process may use so many times the declared memory: pictures sent to it are not the release's."""


def judge(rules: Rules, budgets: Budgets, evidence: Evidence) -> Verdict:
    """Decide about a release on trial."""
    if fault := find_fault(rules, budgets, evidence):
        return Verdict(Outcome.FAILED, fault)
    answers = evidence.contacted and evidence.silent_s < SILENT_S
    enough = tried(evidence) >= rules.inferences
    proven = enough if rules.rate_hz else evidence.elapsed_s >= rules.deadline_s
    if proven and answers and not is_over(budgets, evidence.newest_memory_mb):
        return Verdict(Outcome.PASSED)
    if evidence.elapsed_s <= deadline_s(rules, evidence):
        return PENDING
    return Verdict(Outcome.WITHDRAWN, find_hindrance(rules, evidence))


def is_over(budgets: Budgets, memory_mb: float | None) -> bool:
    """Return whether a release uses more memory than it may."""
    return bool(budgets.memory_mb and memory_mb and memory_mb > LIVE_MEMORY * budgets.memory_mb)


def tried(evidence: Evidence) -> int:
    """Return the number of inferences, those that failed included."""
    return evidence.inferences + evidence.inference_errors


def deadline_s(rules: Rules, evidence: Evidence) -> float:
    """Return the seconds that a trial may take: longer at a low frame rate, asked for or seen."""
    expected = 2 * rules.inferences / rules.rate_hz if rules.rate_hz else 0.0
    slow_camera = 0 < tried(evidence) < rules.inferences and not evidence.camera_errors
    return max(rules.deadline_s * (SLOW_CAMERA if slow_camera else 1), expected)


def find_fault(rules: Rules, budgets: Budgets, evidence: Evidence) -> str:
    """Return what the release itself did wrong; empty: nothing so far."""
    enough = tried(evidence) >= rules.inferences
    errors = evidence.inference_errors
    if enough and errors > rules.max_error_share * tried(evidence):
        return f"{errors} of {tried(evidence)} inferences failed: {evidence.last_inference_error}"
    if evidence.silent_s >= SILENT_S and evidence.phase in BLAMED:
        return f"{BLAMED[evidence.phase]} does not end: no answer for {evidence.silent_s:.0f} s"
    memory, cpu = evidence.memory_mb, evidence.cpu_ms_p95
    if memory and budgets.memory_mb and is_over(budgets, memory):
        return f"uses {memory:.0f} MB of memory; it declares {budgets.memory_mb:.0f}"
    if enough and budgets.cpu_ms_p95 and cpu and cpu > LIVE_CPU * budgets.cpu_ms_p95:
        return f"an inference takes {cpu:.0f} ms of processor time; it declares {budgets.cpu_ms_p95:.0f}"
    return ""


def find_hindrance(rules: Rules, evidence: Evidence) -> str:
    """Return what kept a release from proving itself in time, in words."""
    if evidence.other_faults:
        return "; ".join(f"{what}: {words}" for what, words in sorted(evidence.other_faults.items()))
    if evidence.silent_s >= SILENT_S:
        return f"the detector does not answer, in {evidence.phase.name.lower()}"
    if evidence.machine_errors:
        return f"the machine has too little left: {evidence.last_machine_error}"
    if evidence.camera_errors:
        return f"the camera gives no frames: {evidence.last_camera_error}"
    if rules.rate_hz and tried(evidence) < rules.inferences:
        return f"only {tried(evidence)} frames came in {deadline_s(rules, evidence):g} s"
    if evidence.contacted:
        return "the memory that it uses goes up and down"
    return "the server was not reached in the trial"
