"""Class balance: rare labels get more copies and larger weights, within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.augment.balance import class_weights, copies_of, repeat_factors

counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10_000), min_size=1)
power = st.floats(0, 1)


def test_a_rare_label_is_repeated_as_in_lvis():
    factors = repeat_factors({"chair": 90, "person": 10}, power=0.5, largest=10)
    assert factors == {"chair": 1.0, "person": pytest.approx((50 / 10) ** 0.5)}


@given(counts, power, st.floats(1, 5))
def test_factors_are_bounded_and_rarer_is_never_less(frames_with, power, largest):
    factors = repeat_factors(frames_with, power, largest)
    assert all(1 <= factor <= largest for factor in factors.values())
    ordered = sorted(factors, key=lambda label: frames_with[label])
    assert [factors[label] for label in ordered] == sorted(factors.values(), reverse=True)


def test_without_oversampling_every_frame_gets_the_usual_copies():
    factors = repeat_factors({"chair": 90, "person": 10}, power=0.0, largest=3)
    assert copies_of({"person"}, factors, 2, 0.999) == copies_of({"chair"}, factors, 2, 0.0) == 2


@given(st.floats(1, 3), st.integers(0, 5))
def test_copies_are_rounded_fairly(factor, copies):
    draws = [index / 1000 for index in range(1000)]
    total = sum(copies_of({"a"}, {"a": factor}, copies, draw) for draw in draws)
    assert total / 1000 == pytest.approx(factor * copies, abs=0.002)


def test_the_rarest_label_of_a_frame_decides():
    assert copies_of({"chair", "person"}, {"chair": 1.0, "person": 3.0}, 2, 0.5) == 6


@given(counts, power)
def test_weights_average_to_one_and_favour_the_rare(counts, power):
    weights = class_weights(counts, power)
    total = sum(counts.values())
    if total:
        assert sum(counts[name] * weights[name] for name in counts) / total == pytest.approx(1, abs=1e-4)
    seen = [name for name in counts if counts[name]]
    assert all(weights[name] > 0 for name in counts)
    for a in seen:
        for b in seen:
            assert counts[a] > counts[b] or weights[a] >= weights[b]
