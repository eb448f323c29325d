"""What the demonstration makes of Airflow's answers: a stage in shards is one stage that says how many there are."""

import pytest

from sim2edge.demo.follow import Follower, is_over


def instance(task, state, map_index=-1, begin=None, end=None):
    return {
        "task_id": task,
        "map_index": map_index,
        "state": state,
        "duration": 2.0,
        "try_number": 1,
        "start_date": begin and f"2026-01-01T00:00:{begin:02}Z",
        "end_date": end and f"2026-01-01T00:00:{end:02}Z",
    }


def shards(*states):
    return [instance("capture_shard", state, index, begin=10 + index) for index, state in enumerate(states)]


class Answers:
    """An Airflow that says the same until it is told otherwise."""

    def __init__(self, *instances):
        self.said = list(instances)

    def runs(self, dag, partition):
        return []

    def instances(self, dag, run):
        return self.said

    def log(self, dag, run, task, attempt):
        return ["capture 3/20 frames 60"]

    def result(self, dag, run, task):
        return "episodes/demo-1/0123456789abcdef"


def look(*instances):
    """The state of `capture`, and whether the pipeline is over with it."""
    known = {dag: set() for dag in ("data_cleaning", "train_model", "release_model")}
    states = next(Follower(Answers(*instances), "demo-1", "run", known).states(60))
    return states[0], is_over(states)


def test_a_stage_as_a_whole_shows_its_progress():
    state, _ = look(instance("capture", "running"))
    assert (state.state, state.detail) == ("running", "3/20 frames 60")


@pytest.mark.parametrize(
    ("instances", "state", "detail"),
    [
        ([instance("capture_shard", None), instance("capture", None)], "waiting", ""),
        ([*shards("queued", None), instance("capture", None)], "waiting", ""),
        ([*shards("running", "queued", None), instance("capture", None)], "running", "0/3 shards, 1 running"),
        (
            [*shards("success", "success", "up_for_retry"), instance("capture", None)],
            "running",
            "2/3 shards, 0 running",
        ),
        ([*shards("success", "success"), instance("capture", "running")], "running", "3/20 frames 60"),
    ],
)
def test_a_stage_in_shards_says_how_many_there_are(instances, state, detail):
    found, over = look(*instances)
    assert (found.state, found.detail, over) == (state, detail, False)


def test_the_seconds_of_a_gathered_stage_count_from_its_first_shard():
    state, _ = look(*shards("success", "success"), instance("capture", "success", begin=30, end=32))
    assert state.seconds == 22.0
    assert state.reference == "episodes/demo-1/0123456789abcdef"


def test_a_shard_that_failed_for_good_ends_it():
    state, over = look(*shards("success", "failed"), instance("capture", "upstream_failed"))
    assert (state.state, over) == ("upstream_failed", True)
