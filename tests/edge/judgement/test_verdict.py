"""Whose fault it is: 200 innocent situations and the guilty ones."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.edge.judgement.trial import Rules
from sim2edge.edge.judgement.verdict import BLAMED, PENDING, SILENT_S, Budgets, Evidence, Outcome, Phase, Verdict, judge

RULES = Rules(inferences=20, max_error_share=0.1, deadline_s=60, rate_hz=10)
BUDGETS = Budgets(memory_mb=100, cpu_ms_p95=50)


def verdict(rules: Rules = RULES, budgets: Budgets = BUDGETS, **seen: object) -> Verdict:
    """The verdict on a release that has done well, but for what is given."""
    return judge(rules, budgets, Evidence(**{"elapsed_s": 5, "contacted": True, "inferences": 20} | seen))


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({}, Verdict(Outcome.PASSED)),
        ({"inferences": 19}, PENDING),
        ({"inferences": 18, "inference_errors": 2}, Verdict(Outcome.PASSED)),
        ({"inferences": 3, "inference_errors": 1}, PENDING),
        ({"contacted": False}, PENDING),
        ({"contacted": False, "elapsed_s": 61}, Verdict(Outcome.WITHDRAWN, "the server was not reached in the trial")),
        ({"inferences": 0, "elapsed_s": 61}, Verdict(Outcome.WITHDRAWN, "only 0 frames came in 60 s")),
        (
            {"inferences": 0, "camera_errors": 50, "last_camera_error": "gave no frame", "elapsed_s": 61},
            Verdict(Outcome.WITHDRAWN, "the camera gives no frames: gave no frame"),
        ),
        ({"inferences": 5, "elapsed_s": 61}, PENDING),
        ({"inferences": 5, "elapsed_s": 601}, Verdict(Outcome.WITHDRAWN, "only 5 frames came in 600 s")),
        (
            {"contacted": False, "elapsed_s": 61, "other_faults": {"disk": "read-only file system"}},
            Verdict(Outcome.WITHDRAWN, "disk: read-only file system"),
        ),
    ],
)
def test_a_trial_passes_by_frames_and_contact_and_ends_in_time(seen, expected):
    assert verdict(**seen) == expected


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (
            {"inferences": 17, "inference_errors": 3, "last_inference_error": "not finite"},
            "3 of 20 inferences failed: not finite",
        ),
        ({"silent_s": 21, "phase": Phase.INFERENCE}, "an inference does not end: no answer for 21 s"),
        ({"silent_s": 21, "phase": Phase.LOAD}, "loading the model does not end: no answer for 21 s"),
        ({"memory_mb": 1668}, "uses 1668 MB of memory; it declares 100"),
        ({"cpu_ms_p95": 1790}, "an inference takes 1790 ms of processor time; it declares 50"),
    ],
)
def test_a_release_fails_by_its_own_faults(seen, reason):
    assert verdict(**seen) == Verdict(Outcome.FAILED, reason)


def test_one_reading_of_much_memory_neither_condemns_nor_passes():
    assert verdict(newest_memory_mb=1668, memory_mb=90) == PENDING
    assert verdict(newest_memory_mb=1668) == PENDING
    assert verdict(newest_memory_mb=90, memory_mb=90).outcome is Outcome.PASSED
    late = verdict(newest_memory_mb=1668, memory_mb=90, elapsed_s=61)
    assert late == Verdict(Outcome.WITHDRAWN, "the memory that it uses goes up and down")


def test_inferences_without_memory_are_no_fault_of_a_release():
    seen = {"inferences": 0, "machine_errors": 50, "last_machine_error": "Unable to allocate 9 MiB", "elapsed_s": 61}
    reason = "the machine has too little left: Unable to allocate 9 MiB"
    assert verdict(**seen) == Verdict(Outcome.WITHDRAWN, reason)


@pytest.mark.parametrize("seen", [{"memory_mb": 120}, {"cpu_ms_p95": 95}, {"memory_mb": None, "cpu_ms_p95": None}])
def test_a_busy_or_hot_machine_and_large_pictures_have_room(seen):
    assert verdict(**seen).outcome is Outcome.PASSED


def test_what_declares_no_budget_is_held_to_none():
    assert verdict(budgets=Budgets(), memory_mb=9999, cpu_ms_p95=9999).outcome is Outcome.PASSED


def test_a_device_without_a_camera_passes_by_running_for_the_time_of_the_trial():
    rules = Rules(deadline_s=60, rate_hz=None)
    assert verdict(rules, inferences=0) == PENDING
    assert verdict(rules, inferences=0, elapsed_s=60).outcome is Outcome.PASSED


def test_a_slow_frame_rate_lengthens_the_trial():
    slow = Rules(inferences=20, deadline_s=60, rate_hz=0.1)
    assert verdict(slow, inferences=0, elapsed_s=300) == PENDING
    assert verdict(slow, inferences=20, elapsed_s=300).outcome is Outcome.PASSED


INNOCENT = [
    {"silent_s": silent, "phase": phase, "camera_errors": errors, "contacted": contacted, "elapsed_s": elapsed} | disk
    for silent, phase, errors, contacted, elapsed, disk in itertools.product(
        (0.0, 1000.0),
        (Phase.CAMERA, Phase.IDLE, Phase.START),
        (0, 3, 1000),
        (True, False),
        (1.0, 61.0, 100_000.0),
        ({}, {"other_faults": {"disk": "no space left on device"}}),
    )
]


def test_two_hundred_innocent_situations_condemn_nobody():
    assert len(INNOCENT) > 200
    for inferences in (0, 3, 19, 20, 1000):
        for seen in INNOCENT:
            assert verdict(inferences=inferences, **seen).outcome is not Outcome.FAILED, seen


@given(
    st.builds(
        Evidence,
        elapsed_s=st.floats(0, 10_000),
        contacted=st.booleans(),
        silent_s=st.floats(0, 100),
        phase=st.sampled_from(Phase),
        inferences=st.integers(0, 100),
        inference_errors=st.integers(0, 100),
        camera_errors=st.integers(0, 100),
        cpu_ms_p95=st.none() | st.floats(0, 1000),
        memory_mb=st.none() | st.floats(0, 1000),
    )
)
def test_nothing_passes_without_good_inferences_and_contact_and_nothing_pends_for_ever(seen):
    outcome = judge(RULES, BUDGETS, seen).outcome
    if outcome is Outcome.PASSED:
        assert seen.contacted
        assert seen.inferences >= 0.9 * RULES.inferences
        assert seen.silent_s < SILENT_S
    if outcome is Outcome.PENDING:
        assert seen.elapsed_s <= 10 * RULES.deadline_s
    if outcome is Outcome.FAILED and seen.silent_s >= SILENT_S and not seen.inference_errors:
        over = (seen.memory_mb or 0) > 100 or (seen.cpu_ms_p95 or 0) > 50
        assert over or seen.phase in BLAMED
