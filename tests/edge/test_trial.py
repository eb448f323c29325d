"""The decisions of an update: offers, trials, verdicts, and every sequence of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sim2edge.edge import trial
from sim2edge.edge.trial import Evidence, Installed, Outcome, Rules, State, Step

R1, R2, R3 = (Installed(name, name * 8) for name in ("r1", "r2", "r3"))
RULES = Rules(inferences=20, max_error_share=0.1, deadline_s=60, attempts=3)


def device_with(*releases: Installed) -> State:
    """A device that has taken these releases one after another, each found good."""
    state = State()
    for release in releases:
        state = trial.accept(trial.begin(trial.clear(state), release))
    return state


def test_a_new_device_takes_the_first_offer_on_trial():
    assert trial.decide(State(), R1) is Step.INSTALL
    state = trial.begin(State(), R1)
    assert trial.running(state) == R1
    assert state.active is None


def test_what_runs_or_is_on_trial_is_kept():
    assert trial.decide(device_with(R1), R1) is Step.KEEP
    assert trial.decide(trial.begin(device_with(R1), R2), R2) is Step.KEEP


def test_an_update_goes_to_the_slot_that_does_not_run():
    state = trial.begin(device_with(R1), R2)
    assert trial.boots(state) == "b"
    assert state.slots["a"] == R1


def test_a_rejected_release_gives_way_to_the_old_one_and_is_never_tried_again():
    state = trial.reject(trial.begin(device_with(R1), R2), "too many errors")
    assert trial.running(state) == R1
    assert trial.decide(state, R2) is Step.HOLD
    assert trial.failure_of(state, R2.sha256).reason == "too many errors"


def test_a_withdrawn_release_may_be_tried_again_without_a_download():
    state = trial.withdraw(trial.begin(device_with(R1), R2))
    assert trial.running(state) == R1
    assert trial.decide(state, R2) is Step.RETRY


def test_going_back_to_the_previous_release_needs_no_download():
    assert trial.decide(device_with(R1, R2), R1) is Step.RETRY


def test_a_newer_offer_supersedes_a_trial_and_spares_the_good_slot():
    state = trial.begin(device_with(R1), R2)
    assert trial.decide(state, R3) is Step.SUPERSEDE
    assert trial.free_slot(trial.withdraw(state)) == "b"
    with pytest.raises(ValueError, match="no slot is free"):
        trial.free_slot(state)


def test_taking_back_the_offer_in_the_middle_of_a_trial_ends_it():
    state = trial.begin(device_with(R1), R2)
    assert trial.decide(state, R1) is Step.SUPERSEDE
    assert trial.decide(trial.withdraw(state), R1) is Step.KEEP


def test_starts_are_counted_in_a_trial_only():
    good = device_with(R1)
    assert trial.next_attempt(good, RULES) == good
    state = trial.begin(good, R2)
    for attempt in range(RULES.attempts):
        state = trial.next_attempt(state, RULES)
        assert state.trial.attempts == attempt + 1
    state = trial.next_attempt(state, RULES)
    assert trial.running(state) == R1
    assert trial.failure_of(state, R2.sha256).reason == "did not prove itself in 3 starts"


def evidence(**known: object) -> Evidence:
    return Evidence(**{"elapsed_s": 5, "contacted": True, "release": "r2", "inferences": 20, "errors": 0} | known)


@pytest.mark.parametrize(
    ("known", "outcome", "reason"),
    [
        ({}, Outcome.PASSED, ""),
        ({"inferences": 19}, Outcome.PENDING, ""),
        ({"inferences": 18, "errors": 2}, Outcome.PASSED, ""),
        ({"inferences": 17, "errors": 3}, Outcome.FAILED, "3 of 20 inferences failed"),
        ({"inferences": 3, "errors": 1}, Outcome.PENDING, ""),
        ({"inferences": 3, "elapsed_s": 61}, Outcome.FAILED, "only 3 inferences in 60 s"),
        ({"release": None, "inferences": 0}, Outcome.PENDING, ""),
        ({"release": None, "inferences": 0, "elapsed_s": 61}, Outcome.FAILED, "did not answer within 60 s"),
        ({"release": "r1", "elapsed_s": 61}, Outcome.FAILED, "runs r1 instead within 60 s"),
        ({"contacted": False}, Outcome.PENDING, ""),
        ({"contacted": False, "elapsed_s": 61}, Outcome.WITHDRAWN, "the server was not reached in the trial"),
        ({"inferences": 0, "errors": 50, "camera_failed": True}, Outcome.PENDING, ""),
        (
            {"inferences": 0, "errors": 50, "camera_failed": True, "elapsed_s": 61},
            Outcome.WITHDRAWN,
            "the camera gives no frames",
        ),
    ],
)
def test_a_trial_is_judged_by_real_inferences_contact_and_time(known, outcome, reason):
    assert trial.judge(RULES, "r2", evidence(**known)) == trial.Verdict(outcome, reason)


@given(
    st.builds(
        Evidence,
        elapsed_s=st.floats(0, 1000),
        contacted=st.booleans(),
        release=st.sampled_from([None, "r1", "r2"]),
        inferences=st.integers(0, 100),
        errors=st.integers(0, 100),
        camera_failed=st.booleans(),
    )
)
def test_nothing_passes_without_enough_good_inferences_and_contact_and_nothing_pends_for_ever(known):
    verdict = trial.judge(RULES, "r2", known).outcome
    if verdict is Outcome.PASSED:
        assert known.release == "r2"
        assert known.contacted
        assert known.inferences >= 0.9 * RULES.inferences
    assert verdict is not Outcome.PENDING or known.elapsed_s <= RULES.deadline_s


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"null", b'{"slots": {}, "active": "a"}'])
def test_a_damaged_state_is_told_from_a_good_one(data):
    with pytest.raises(ValueError, match="not a state"):
        trial.from_json(data)


class Device(RuleBasedStateMachine):
    """Any offers, verdicts, starts and restarts, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.good: Installed | None = None

    @rule(offer=st.sampled_from([R1, R2, R3]))
    def is_offered(self, offer):
        step = trial.decide(self.state, offer)
        if step is Step.SUPERSEDE:
            self.state = trial.withdraw(self.state)
            step = trial.decide(self.state, offer)
        if step is Step.INSTALL:
            self.state = trial.begin(trial.clear(self.state), offer)
        elif step is Step.RETRY:
            self.state = trial.begin(self.state, offer)
        assert step is not Step.SUPERSEDE
        assert trial.running(self.state) == offer or trial.failure_of(self.state, offer.sha256)

    @precondition(lambda self: self.state.trial)
    @rule()
    def passes(self):
        self.good = trial.running(self.state)
        self.state = trial.accept(self.state)

    @precondition(lambda self: self.state.trial)
    @rule(blamed=st.booleans())
    def does_not_pass(self, blamed):
        self.state = trial.reject(self.state, "bad") if blamed else trial.withdraw(self.state)

    @rule()
    def starts(self):
        self.state = trial.next_attempt(self.state, RULES)

    @rule()
    def loses_power(self):
        self.state = trial.from_json(trial.to_json(self.state))

    @invariant()
    def the_good_release_is_never_lost(self):
        active = self.state.active
        assert (self.state.slots[active] if active else None) == self.good

    @invariant()
    def a_failed_release_is_never_on_trial(self):
        now = trial.running(self.state)
        assert not (self.state.trial and trial.failure_of(self.state, now.sha256))


Device.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestDevice = Device.TestCase
