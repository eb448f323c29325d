"""Which events count as dropped."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sim2edge_airflow.scheduling.dropped_events import Event, find_dropped

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def event(number, partition="demo-1", minutes_ago=60, *started, **extra):
    return Event(number, partition, NOW - timedelta(minutes=minutes_ago), extra, started)


def test_an_event_without_a_run_was_dropped():
    lost = event(1)
    assert find_dropped([lost], NOW) == [lost]


def test_an_event_that_started_a_run_was_not_whatever_became_of_the_run():
    assert find_dropped([event(1, "demo-1", 60, "asset_triggered__1")], NOW) == []


def test_an_event_of_just_now_may_still_start_its_run():
    assert find_dropped([event(1, minutes_ago=-1)], NOW) == []


def test_a_newer_event_of_the_batch_stands_for_the_older_one():
    lost, newer = event(1, "demo-1", 60), event(2, "demo-1", 30)
    assert find_dropped([newer, lost], NOW) == [newer]
    assert find_dropped([lost, event(2, "demo-1", 30, "run")], NOW) == []
    assert find_dropped([lost, event(2, "demo-1", -1)], NOW) == []


def test_another_batch_does_not_unless_only_the_newest_counts():
    first, second = event(1, "demo-1", 60), event(2, "demo-2", 30, "run")
    assert find_dropped([first, second], NOW) == [first]
    assert find_dropped([first, second], NOW, newest_only=True) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-10, 100), st.booleans()), max_size=30))
def test_each_batch_gets_one_run_at_most_and_only_for_its_newest_event(rows):
    events = [event(n, batch, ago, *(["run"] if ran else [])) for n, (batch, ago, ran) in enumerate(rows)]
    found = find_dropped(events, NOW)
    assert len({each.partition for each in found}) == len(found)
    for each in found:
        assert not [e for e in events if e.partition == each.partition and e.at > each.at]
    for batch in {e.partition for e in events} - {each.partition for each in found}:
        newest = max((e for e in events if e.partition == batch), key=lambda e: (e.at, e.id))
        assert newest.started or newest.at > NOW
