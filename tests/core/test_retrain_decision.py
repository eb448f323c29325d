"""When open requests become a training: a table of scenarios, and what holds in all of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sim2edge.retrain import make_request
from sim2edge.retrain_decision import MAX_LOOK_S, MAX_MINUTES, Policy, Situation, decide

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
MINUTE = 60


def data(ago_s=30, batch="b1", frames=100, backfill=False):
    submitted = NOW - timedelta(seconds=ago_s)
    more = {"batch": batch, "frames": frames, "backfill": backfill}
    return make_request("data", "new", {"frames": batch}, by="data_cleaning", submitted=submitted, **more)


def other(kind="drift", ago_s=30, now=False):
    submitted = NOW - timedelta(seconds=ago_s)
    return make_request(kind, "because", {"what": kind}, by="somebody", submitted=submitted, now=now)


def now_by_hand():
    return other("manual", now=True)


def at(trainings=0, data_runs=0, trained_ago_s=None, batch="b1"):
    last = None if trained_ago_s is None else NOW - timedelta(seconds=trained_ago_s)
    return Situation(trainings, data_runs, last, batch)


USUAL = Policy()
FIVE = Policy(new_batches=5)
FRAMES = Policy(new_batches=None, new_frames=250)
EITHER = Policy(new_batches=5, new_frames=250)
COOL = Policy(cooldown_minutes=60)


@pytest.mark.parametrize(
    ("requests", "situation", "policy", "action", "why"),
    [
        ([], at(), USUAL, "rest", "no open requests"),
        ([other()], at(batch=None), USUAL, "rest", "no frames to learn from"),
        ([data()], at(), USUAL, "train", "1 of kind data"),
        ([now_by_hand()], replace(at(), paused=True), USUAL, "rest", "train_model is paused"),
        ([data(), other(), other("manual")], at(), USUAL, "train", "1 of kind data; 1 of kind drift; 1 of kind manual"),
        # enough new data
        ([data(batch="b1"), data(batch="b2")], at(), FIVE, "rest", "2 of 5 new batches"),
        ([data(batch=f"b{n}") for n in range(5)], at(), FIVE, "train", "5 of kind data"),
        ([data(), other()], at(), FIVE, "train", "1 of kind drift"),
        ([data(batch="b1"), data(batch="b2")], at(), FRAMES, "rest", "200 of 250 new frames"),
        ([data(frames=250)], at(), FRAMES, "train", ""),
        ([data(frames=249)], at(), EITHER, "rest", "1 of 5 new batches and 249 of 250 new frames"),
        ([data(frames=250)], at(), EITHER, "train", ""),
        # together
        ([data(ago_s=2)], at(), USUAL, "wait", "the newest request is 2 s old"),
        ([data(), other(ago_s=1)], at(), USUAL, "wait", "the newest request is 1 s old"),
        ([other(ago_s=2)], at(), Policy(debounce_s=0), "train", ""),
        ([data(ago_s=61 * MINUTE), other(ago_s=1)], at(), USUAL, "train", ""),  # they never stop coming
        # one at a time
        ([other()], at(trainings=1), USUAL, "wait", "a training is running"),
        ([now_by_hand()], at(trainings=1), USUAL, "wait", "a training is running"),
        ([now_by_hand()], at(trained_ago_s=1), USUAL, "wait", "about to start"),
        # cool-down
        ([data()], at(trained_ago_s=59 * MINUTE), COOL, "wait", "cool-down: 1.0 minutes"),
        ([other()], at(trained_ago_s=59 * MINUTE), COOL, "wait", "cool-down"),
        ([other("manual")], at(trained_ago_s=59 * MINUTE), COOL, "wait", "cool-down"),
        ([now_by_hand()], at(trained_ago_s=59 * MINUTE), COOL, "train", ""),
        ([data()], at(trained_ago_s=61 * MINUTE), COOL, "train", ""),
        # data on its way
        ([data()], at(data_runs=3), USUAL, "wait", "3 runs are still producing data, for at most 60 minutes more"),
        ([data(ago_s=61 * MINUTE)], at(data_runs=3), USUAL, "train", ""),
        ([data(), other()], at(data_runs=3), USUAL, "train", ""),
        ([other("degradation")], at(data_runs=3), USUAL, "train", ""),
        # a backfill
        ([data(ago_s=61 * MINUTE, backfill=True)], at(data_runs=1), USUAL, "wait", "a backfill ends in one training"),
        ([data(ago_s=61 * MINUTE, backfill=True)], at(), USUAL, "train", ""),
        ([data(ago_s=25 * 60 * MINUTE, backfill=True)], at(data_runs=1), USUAL, "train", ""),
        ([data(backfill=True), other()], at(data_runs=9), USUAL, "train", ""),
    ],
)
def test_the_table(requests, situation, policy, action, why):
    decision = decide(requests, situation, policy, NOW)
    assert (decision.action, why in decision.why) == (action, True), decision


@pytest.mark.parametrize(
    ("requests", "situation", "policy", "low", "high"),
    [
        ([data(ago_s=2)], at(), USUAL, 1, 3),  # the rest of the quiet time
        ([data(ago_s=5)], at(data_runs=1), USUAL, 2, 2),
        ([data(ago_s=100)], at(data_runs=1), USUAL, 10, 10),
        ([data(ago_s=3000)], at(data_runs=1), USUAL, MAX_LOOK_S, MAX_LOOK_S),
        ([other(ago_s=3000)], at(trained_ago_s=59.9 * MINUTE), COOL, 5, 7),
    ],
)
def test_it_looks_again_the_more_seldom_the_longer_it_waits_and_not_too_late(requests, situation, policy, low, high):
    assert low <= decide(requests, situation, policy, NOW).look_again_s <= high


def test_a_policy_under_which_new_data_is_never_enough_is_refused():
    with pytest.raises(ValidationError, match="never be enough"):
        Policy(new_batches=None)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("cooldown_minutes", ".inf"),
        ("cooldown_minutes", ".nan"),
        ("cooldown_minutes", "1e300"),
        ("cooldown_minutes", "-1"),
        ("cooldown_minutes", "yes"),
        ("cooldown_minutes", "an hour"),
        ("max_wait_minutes", "1000000"),
        ("backfill_wait_hours", ".inf"),
        ("debounce_s", "3601"),
        ("new_batches", "0"),
        ("new_batches", "yes"),
        ("new_batches", "'3'"),
        ("new_batches", "2.5"),
        ("new_frames", "[1]"),
        ("patience", "1"),
    ],
)
def test_a_wrong_value_is_named(field, said):
    with pytest.raises(ValidationError) as caught:
        Policy.model_validate(yaml.safe_load(f"{field}: {said}"))
    assert caught.value.errors()[0]["loc"] == (field,)


def test_the_most_patient_policy_waits_for_a_year_and_any_date_can_be_waited_from():
    patient = Policy(
        cooldown_minutes=MAX_MINUTES,
        max_wait_minutes=MAX_MINUTES,
        backfill_wait_hours=MAX_MINUTES / 60,
    )
    ancient = data(backfill=True).model_copy(
        update={"submitted": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23)))}
    )
    assert decide([data(backfill=True)], at(data_runs=1), patient, NOW).action == "wait"
    assert decide([other()], at(trained_ago_s=364 * 86400), patient, NOW).action == "wait"
    assert decide([ancient], at(data_runs=1), patient, NOW).action == "train"


requests = st.lists(
    st.builds(data, st.floats(0, 1e6), st.sampled_from("abc"), st.integers(0, 500), st.booleans())
    | st.builds(other, st.sampled_from(["drift", "degradation", "manual"]), st.floats(0, 1e6))
    | st.builds(now_by_hand),
    max_size=6,
)
situations = st.builds(at, st.integers(0, 2), st.integers(0, 9), st.none() | st.floats(0, 1e6))
policies = st.builds(
    Policy,
    new_batches=st.integers(1, 4),
    debounce_s=st.floats(0, 3600),
    cooldown_minutes=st.floats(0, 1e4),
    max_wait_minutes=st.floats(0, 1e4),
    backfill_wait_hours=st.floats(0, 1e3),
)


@given(requests, situations, policies)
@settings(max_examples=200, deadline=None)
def test_never_two_at_a_time_never_without_a_request_and_no_wait_is_for_ever(submitted, situation, policy):
    decision = decide(submitted, situation, policy, NOW)
    assert decision.why
    if decision.action == "train":
        assert submitted
        assert not situation.trainings
    if decision.action == "wait":
        assert 0 < decision.look_again_s <= MAX_LOOK_S
    later = decide(submitted, Situation(0, situation.data_runs, situation.last_training, "b1"), policy, NOW + 2 * LONG)
    assert later.action != "wait", "whatever data runs do, what was waited for ends"


LONG = timedelta(days=60)


def test_what_a_failed_training_gave_back_waits_for_company():
    returned = make_request("drift", "because", {"what": "x", "failed_training": "t1"}, by="somebody", submitted=NOW)
    alone = decide([returned], at(), USUAL, NOW + timedelta(hours=1))
    assert (alone.action, "given back by failed trainings (t1)" in alone.why) == ("rest", True)
    assert decide([returned, data()], at(), USUAL, NOW + timedelta(hours=1)).action == "train"
    assert decide([returned, now_by_hand()], at(), USUAL, NOW + timedelta(hours=1)).action == "train"
