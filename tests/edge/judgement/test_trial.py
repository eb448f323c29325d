"""The decisions of an update: offers, trials, bans, rests, and every sequence of them."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.trial import SLOTS, Installed, Rules, State, Step, Subject, Trial

R1, R2, R3 = (Installed(name, name * 8) for name in ("r1", "r2", "r3"))
RULES = Rules(crashes=3, starts=4)
NOW = 1_000_000.0


def install(state: State, offer: Installed) -> State:
    """Do what the updater does for an offer."""
    step = trial.decide(state, offer, NOW)
    if step is Step.INSTALL:
        slot = trial.free_slot(state)
        return trial.begin(trial.clear(state, slot), slot, offer)
    return trial.begin(state, trial.slot_with(state, offer), offer) if step is Step.RETRY else state


def subject_of(state: State, start: int = 1) -> Subject:
    """The detector that runs now."""
    slot = trial.boots(state)
    return Subject(slot, state.slots[slot], start, state.trial.number if state.trial else None)


def device_with(*releases: Installed) -> State:
    """A device that has taken these releases one after another, each found good."""
    state = State()
    for release in releases:
        state = install(state, release)
        state = trial.accept(state, subject_of(state))
    return state


def test_a_new_device_takes_the_first_offer_on_trial():
    assert trial.decide(State(), R1, NOW) is Step.INSTALL
    state = install(State(), R1)
    assert trial.running(state) == R1
    assert state.active is None


def test_what_runs_or_is_on_trial_is_kept():
    assert trial.decide(device_with(R1), R1, NOW) is Step.KEEP
    assert trial.decide(install(device_with(R1), R2), R2, NOW) is Step.KEEP


def test_an_update_goes_to_the_slot_that_does_not_run():
    state = install(device_with(R1), R2)
    assert trial.boots(state) == "b"
    assert state.slots["a"] == R1


def test_a_banned_release_gives_way_to_the_old_one_until_the_ban_is_over():
    state = install(device_with(R1), R2)
    state = trial.reject(state, subject_of(state), "too many errors", NOW)
    assert trial.running(state) == R1
    assert trial.decide(state, R2, NOW) is Step.HOLD
    assert trial.held_back(state, R2, NOW) == "failed: too many errors"
    assert trial.decide(state, R2, NOW + trial.BAN_S) is Step.RETRY


def test_each_further_ban_is_twice_as_long():
    state = trial.ban(device_with(R1), R2, "bad", NOW)
    assert trial.ban_of(state, R2).until == NOW + trial.BAN_S
    state = trial.ban(state, R2, "bad", NOW)
    assert trial.ban_of(state, R2).until == NOW + 2 * trial.BAN_S


def test_a_ban_set_by_a_clock_that_ran_ahead_does_not_hold_for_years():
    state = trial.ban(device_with(R1), R2, "bad", NOW + 50 * 365 * 86_400)
    assert trial.decide(state, R2, NOW) is Step.INSTALL


@pytest.mark.parametrize("lift", ["operator", "ring"])
def test_a_ban_can_be_lifted_on_the_device_and_from_afar(lift):
    state = trial.ban(device_with(R1), R2, "bad", NOW)
    offer = R2
    if lift == "operator":
        state = trial.unban(state, [R2.sha256])
    else:
        offer = replace(R2, attempt=1)
    assert trial.decide(state, offer, NOW) is Step.INSTALL
    state = install(state, offer)
    state = trial.reject(state, subject_of(state), "bad again", NOW)
    assert trial.decide(state, offer, NOW) is Step.HOLD, "one attempt was asked for, not any number"


def test_a_withdrawn_release_rests_and_is_tried_again_without_a_download():
    state = install(device_with(R1), R2)
    state = trial.withdraw(state, subject_of(state), "no camera", NOW)
    assert trial.running(state) == R1
    assert trial.held_back(state, R2, NOW) == "rests: no camera"
    assert trial.decide(state, R2, NOW + trial.REST_S) is Step.RETRY
    assert state.bans == ()


def test_rests_grow_to_an_hour():
    state = device_with(R1)
    for _ in range(10):
        state = trial.begin(state, "b", R2)
        state = trial.withdraw(state, subject_of(state), "no camera", NOW)
    assert trial.rest_of(state, R2).until == NOW + trial.MAX_REST_S


def test_power_cuts_in_a_trial_ban_nobody():
    state = install(device_with(R1), R2)
    for _ in range(RULES.starts):
        state = trial.start(state, RULES, NOW)
        assert state.trial
    state = trial.start(state, RULES, NOW)
    assert trial.running(state) == R1
    assert state.bans == ()
    assert trial.rest_of(state, R2).reason == "the device or its agent stopped in each of 4 starts"


def test_crashes_ban_after_three_and_hindrances_never():
    state = install(device_with(R1), R2)
    for _ in range(RULES.crashes):
        state = trial.start(state, RULES, NOW)
        state = trial.crashed(state, subject_of(state), RULES, "segmentation fault", NOW)
    assert trial.ban_of(state, R2).reason == "segmentation fault"

    state = install(device_with(R1), R2)
    for _ in range(RULES.starts):
        state = trial.start(state, RULES, NOW)
        state = trial.hindered(state, subject_of(state), RULES, "no memory", NOW)
    assert state.bans == ()
    assert trial.rest_of(state, R2).reason == "no memory"


@pytest.mark.parametrize("change", ["slot", "release", "trial"])
def test_what_is_known_of_another_process_counts_for_nothing(change):
    state = install(device_with(R1), R2)
    right = subject_of(state)
    wrong = {
        "slot": replace(right, slot="a"),
        "release": replace(right, installed=R1),
        "trial": replace(right, trial=right.trial - 1),
    }[change]
    for deed in (trial.reject, trial.withdraw):
        assert deed(state, wrong, "wrong", NOW) == state
    assert trial.crashed(state, wrong, RULES, "wrong", NOW) == state
    assert trial.hindered(state, wrong, RULES, "wrong", NOW) == state
    assert trial.accept(state, wrong) == state


def test_going_back_to_the_previous_release_needs_no_download():
    assert trial.decide(device_with(R1, R2), R1, NOW) is Step.RETRY


def test_the_ring_going_back_during_a_trial_ends_it():
    state = install(install(device_with(R1), R2), R1)
    assert trial.running(state) == R1
    assert (state.trial, state.active, state.bans, state.rests) == (None, "a", (), ())


def test_a_newer_offer_ends_a_trial_and_spares_the_good_slot():
    state = install(install(device_with(R1), R2), R3)
    assert state.slots == {"a": R1, "b": R3}
    assert trial.boots(state) == "b"


def test_a_first_release_on_trial_stays_beside_the_next_one():
    state = install(install(State(), R1), R2)
    assert state.slots == {"a": R1, "b": R2}
    state = trial.reject(state, subject_of(state), "bad", NOW)
    assert trial.running(state) == R1
    assert state.trial.slot == "a", "it was not proven yet, so its trial goes on"


def test_a_bad_first_release_runs_on_banned_until_a_better_one_comes():
    state = install(State(), R1)
    state = trial.reject(state, subject_of(state), "bad", NOW)
    assert trial.running(state) == R1
    assert trial.decide(state, R1, NOW) is Step.HOLD
    assert trial.decide(state, R1, NOW + trial.BAN_S) is Step.RETRY
    assert install(state, R2).slots == {"a": R1, "b": R2}


def test_nothing_to_go_back_to_means_that_the_trial_goes_on():
    state = install(State(), R1)
    assert trial.withdraw(state, subject_of(state), "no camera", NOW) == state


@pytest.mark.parametrize("own_fault", [True, False])
def test_after_acceptance_there_is_a_way_back(own_fault):
    state = device_with(R1, R2)
    state = trial.fall_back(state, subject_of(state), "8 crashes", NOW, own_fault)
    assert trial.running(state) == R1
    assert trial.decide(state, R2, NOW) is Step.HOLD
    assert bool(state.bans) is own_fault
    assert trial.fall_back(state, subject_of(state), "8 crashes", NOW, own_fault) == state, "nothing proven is left"


def test_a_damaged_slot_gives_way_at_once_and_is_the_one_to_fill():
    state = device_with(R1, R2)
    assert trial.boots(state, {"b"}) == "a"
    assert trial.free_slot(state, {"b"}) == "b"
    assert trial.decide(state, R2, NOW, {"b"}) is Step.KEEP, "it is being repaired"
    assert trial.decide(state, R1, NOW, {"b"}) is Step.KEEP
    assert trial.decide(state, R3, NOW, {"b"}) is Step.INSTALL
    assert trial.boots(state, {"a", "b"}) is None


def test_a_release_that_passes_and_falls_back_again_and_again_rests_ever_longer():
    state, lengths, now = device_with(R1, R2), [], NOW
    for _ in range(4):
        state = trial.fall_back(state, subject_of(state), "no memory", now, own_fault=False)
        lengths.append(trial.rest_of(state, R2).until - now)
        now += trial.MAX_REST_S
        state = trial.begin(state, "b", R2)
        assert trial.held_back(state, R2, now) == ""
        about = Subject("b", R2, 1, state.trial.number)
        state = trial.accept(state, about)
    assert lengths == [60, 120, 240, 480]


@pytest.mark.parametrize("parts", [{"active": "a"}, {"trial": Trial("b")}, {"proven": frozenset("a")}])
def test_a_state_that_contradicts_itself_is_refused(parts):
    with pytest.raises(ValueError, match="a slot is in use that holds nothing"):
        State(**parts)


class Device(RuleBasedStateMachine):
    """Any offers, verdicts, ends, starts, power cuts, damages and times, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.now = State(), NOW
        self.damaged: set[trial.Slot] = set()
        self.guilty: set[str] = set()

    @rule(offer=st.sampled_from([R1, R2, R3]), attempt=st.integers(0, 1))
    def is_offered(self, offer, attempt):
        offer = replace(offer, attempt=attempt)
        step = trial.decide(self.state, offer, self.now, self.damaged)
        if step is Step.INSTALL:
            slot = trial.free_slot(self.state, self.damaged)
            whole = {each for each in self.state.slots if each not in self.damaged}
            assert whole != {slot}, "the only whole slot is never overwritten"
            assert {slot} != self.state.proven - self.damaged
            self.state = trial.begin(trial.clear(self.state, slot), slot, offer)
            self.damaged.discard(slot)
        elif step is Step.RETRY:
            self.state = trial.begin(self.state, trial.slot_with(self.state, offer, self.damaged), offer)
        if step in (Step.INSTALL, Step.RETRY):
            assert trial.running(self.state, self.damaged) == offer

    def subject(self, stale: bool) -> Subject:
        subject = subject_of(self.state)
        return replace(subject, trial=(subject.trial or 0) - 1) if stale else subject

    @precondition(lambda self: self.state.trial)
    @rule(stale=st.booleans(), what=st.sampled_from(["accept", "reject", "withdraw", "crashed", "hindered"]))
    def is_judged(self, stale, what):
        before, subject = self.state, self.subject(stale)
        if what == "accept":
            self.state = trial.accept(before, subject)
        elif what in ("reject", "withdraw"):
            self.state = getattr(trial, what)(before, subject, what, self.now)
        else:
            self.state = getattr(trial, what)(before, subject, RULES, what, self.now)
        if what in ("reject", "crashed") and not stale:
            self.guilty.add(subject.installed.sha256)
        if stale:
            assert self.state == before

    @precondition(lambda self: self.state.active and not self.state.trial)
    @rule(own_fault=st.booleans())
    def crashes_again_and_again(self, own_fault):
        subject = subject_of(self.state)
        if own_fault:
            self.guilty.add(subject.installed.sha256)
        self.state = trial.fall_back(self.state, subject, "crashes", self.now, own_fault)

    @rule()
    def starts(self):
        self.state = trial.start(self.state, RULES, self.now)

    @rule(seconds=st.sampled_from([1.0, 60.0, 3600.0, 86_400.0 * 31]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(slot=st.sampled_from(SLOTS))
    def rots(self, slot):
        if slot in self.state.slots and set(self.state.slots) - self.damaged - {slot}:
            self.damaged.add(slot)

    @rule(slot=st.sampled_from(SLOTS))
    def a_damaged_slot_is_dropped(self, slot):
        if slot in self.damaged:
            self.state = trial.clear(self.state, slot)
            self.damaged.discard(slot)

    @invariant()
    def something_boots_if_any_slot_is_whole(self):
        whole = set(self.state.slots) - self.damaged
        assert (trial.boots(self.state, self.damaged) in whole) if whole else True

    @invariant()
    def the_good_slot_is_proven(self):
        assert self.state.active is None or self.state.active in self.state.proven
        assert self.state.active or not self.state.proven

    @invariant()
    def nobody_innocent_is_banned(self):
        assert {ban.installed.sha256 for ban in self.state.bans} <= self.guilty

    @invariant()
    def every_ban_and_rest_ends(self):
        for each in (*self.state.bans, *self.state.rests):
            assert each.until <= self.now + trial.MAX_BAN_S


Device.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestDevice = Device.TestCase


@given(st.integers(1, 2000))
def test_the_state_stays_small(count):
    state = device_with(R1)
    for number in range(min(count, 100)):
        state = trial.ban(state, Installed(f"bad{number}", str(number)), "x" * count, NOW)
    assert len(state.bans) <= trial.KEPT
    assert all(len(ban.reason) <= trial.MAX_REASON for ban in state.bans)
