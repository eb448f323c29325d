"""The life of one service: every path through the pure function that decides it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.stack.lifecycle import MAX_CRASHES, RESTART_PAUSE_S, RUNNING, Facts, Phase, next_phase

STARTING = Facts(
    phase=Phase.STARTING,
    needs_met=True,
    exit_code=None,
    healthy=None,
    phase_age_s=1,
    deadline_s=60,
    is_task=False,
    was_healthy=False,
    crashes=0,
)
HEALTHY = replace(STARTING, phase=Phase.HEALTHY, was_healthy=True)
TASK = replace(STARTING, is_task=True)

any_facts = st.builds(
    Facts,
    phase=st.sampled_from(Phase),
    needs_met=st.booleans(),
    exit_code=st.none() | st.integers(-15, 3),
    healthy=st.none() | st.booleans(),
    phase_age_s=st.floats(0, 1000),
    deadline_s=st.floats(1, 500),
    is_task=st.booleans(),
    was_healthy=st.booleans(),
    crashes=st.integers(0, 10),
)


@pytest.mark.parametrize(
    ("story", "facts", "expected"),
    [
        ("waits for what it needs", replace(STARTING, phase=Phase.PENDING, needs_met=False), Phase.PENDING),
        ("starts when that is there", replace(STARTING, phase=Phase.PENDING), Phase.STARTING),
        ("is healthy when the check says so", replace(STARTING, healthy=True), Phase.HEALTHY),
        ("is given time", replace(STARTING, healthy=False, phase_age_s=59), Phase.STARTING),
        ("but not for ever", replace(STARTING, healthy=False, phase_age_s=61), Phase.FAILED),
        ("fails when its first start ends by itself", replace(STARTING, exit_code=1), Phase.FAILED),
        ("is unresponsive when the check fails later", replace(HEALTHY, healthy=False), Phase.UNRESPONSIVE),
        ("recovers", replace(HEALTHY, phase=Phase.UNRESPONSIVE, healthy=True), Phase.HEALTHY),
        ("is restarted after a crash", replace(HEALTHY, exit_code=-9, crashes=1), Phase.RESTARTING),
        ("after a clean end too", replace(HEALTHY, exit_code=0, crashes=1), Phase.RESTARTING),
        ("after a short pause", replace(HEALTHY, phase=Phase.RESTARTING, phase_age_s=RESTART_PAUSE_S), Phase.STARTING),
        (
            "but is given up when it keeps crashing",
            replace(HEALTHY, exit_code=1, crashes=MAX_CRASHES + 1),
            Phase.FAILED,
        ),
        ("a task is done with code 0", replace(TASK, exit_code=0), Phase.DONE),
        ("a task fails with another", replace(TASK, exit_code=1), Phase.FAILED),
    ],
)
def test_a_service(story: str, facts: Facts, expected: Phase) -> None:
    assert next_phase(facts) is expected, story


@given(any_facts)
def test_what_is_over_stays_over(facts: Facts) -> None:
    if facts.phase in (Phase.DONE, Phase.FAILED, Phase.STOPPED):
        assert next_phase(facts) is facts.phase


@given(any_facts)
def test_an_ended_process_never_counts_as_running(facts: Facts) -> None:
    if facts.phase in RUNNING and facts.exit_code is not None:
        assert next_phase(facts) not in RUNNING


@given(any_facts)
def test_nothing_starts_before_what_it_needs(facts: Facts) -> None:
    if facts.phase is Phase.PENDING and not facts.needs_met:
        assert next_phase(facts) is Phase.PENDING


@given(any_facts)
def test_crashes_end_in_giving_up(facts: Facts) -> None:
    hopeless = replace(facts, crashes=MAX_CRASHES + 1, exit_code=1)
    if facts.phase in RUNNING:
        assert next_phase(hopeless) is Phase.FAILED
