"""Where a task waits for its turn; pools that are made when missing and never resized."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_local_settings import task_instance_mutation_hook
from sim2edge_airflow.scheduling import pools
from sim2edge_airflow.scheduling.pools import (
    BACKFILL,
    FOLLOWER_WEIGHT,
    HEAD_WEIGHT,
    INFINITE,
    POOLS,
    Place,
    choose_place,
    fit_slots,
    follows,
)

LIVE = Place("capture", 2, 1)


@pytest.fixture
def session(airflow_database):
    from airflow.utils.session import create_session

    with create_session() as session:
        yield session
        session.rollback()


def sizes(session):
    from airflow.models.pool import Pool

    return {pool.pool: pool.slots for pool in Pool.get_pools(session=session)}


def remove(name, session):
    from airflow.models.pool import Pool

    if name in sizes(session):
        Pool.delete_pool(name, session=session)
        session.flush()


def test_a_live_task_stays_where_its_dag_put_it():
    assert choose_place(LIVE, is_backfill=False, follows_backfill=False) == LIVE


def test_a_backfill_waits_in_its_own_pool_behind_all_others_and_ends_batches_before_it_begins_any():
    head, follower = choose_place(LIVE, True, False), choose_place(LIVE, False, True)
    assert {head.pool, follower.pool} == {BACKFILL}
    assert {head.slots, follower.slots} == {LIVE.slots}
    assert HEAD_WEIGHT < FOLLOWER_WEIGHT < 0


@given(st.booleans(), st.booleans())
def test_saying_it_again_changes_nothing(is_backfill, follower):
    once = choose_place(LIVE, is_backfill, follower)
    assert choose_place(once, is_backfill, follower) == once


@given(st.integers(1, 100), st.integers(0, 100) | st.just(INFINITE))
def test_a_task_never_wants_more_than_there_is_nor_nothing(wanted, size):
    slots = fit_slots(wanted, size)
    assert 1 <= slots <= wanted
    assert slots <= max(size, 1) or size == INFINITE
    assert slots == wanted or 0 <= size < wanted


@pytest.mark.parametrize(
    ("sources", "expected"), [([], False), ([True], True), ([True, True], True), ([True, False], False)]
)
def test_a_run_follows_a_backfill_when_nothing_else_started_it(sources, expected):
    assert follows(sources) is expected


def test_the_pools_are_made_when_airflow_starts_and_a_persons_size_stays(airflow_database):
    from airflow.jobs.job import Job
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session

    with create_session() as session:
        for name in POOLS:
            remove(name, session)
    pools.on_starting(Job())
    with create_session() as session:
        assert {name: sizes(session)[name] for name in POOLS} == {"capture": 2, "train": 2, "backfill": 2}
        Pool.create_or_update_pool("train", 7, "", False, session=session)
    pools.on_starting(Job())
    with create_session() as session:
        assert sizes(session)["train"] == 7
        remove("train", session)


@pytest.mark.parametrize("said", ["", "lots", "nan", "-2"])
def test_a_wrong_size_is_named_in_the_log_and_stops_no_scheduler(session, monkeypatch, caplog, said):
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__POOL_TRAIN", said)
    remove("train", session)
    assert pools.pool_size("train", session) == 2
    line = f"[sim2edge] pool_train: '{said}': expected a number from -1 to 100000; the pool gets 2 slots"
    assert line in caplog.messages


def test_a_task_process_makes_none(monkeypatch):
    monkeypatch.setattr(pools, "make_pool", pytest.fail)
    pools.on_starting(SimpleNamespace())


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_that_somebody_removed_is_there_again_for_the_next_task(session, name):
    remove(name, session)
    assert pools.pool_size(name, session) == 2
    assert name in sizes(session)


def test_a_pool_that_is_none_of_ours_is_not_made(session):
    assert pools.pool_size("theirs", session) == INFINITE
    assert "theirs" not in sizes(session)


def test_without_a_run_nothing_is_decided():
    task = SimpleNamespace(pool="capture", pool_slots=2, priority_weight=1)
    task_instance_mutation_hook(task, None)
    assert vars(task) == {"pool": "capture", "pool_slots": 2, "priority_weight": 1}


def test_airflow_finds_the_policy_in_the_plugins_folder():
    from airflow.settings import get_policy_plugin_manager

    (policy,) = get_policy_plugin_manager().hook.task_instance_mutation_hook.get_hookimpls()
    assert policy.function.__module__ == task_instance_mutation_hook.__module__
