"""What the demonstration makes of Airflow's answers: which runs belong together, and where each stage is."""

import pytest

from sim2edge.follow.stages import Follower, is_over


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

    def events(self, dag, run=None):
        return []

    def instances(self, dag, run):
        return self.said

    def log(self, dag, run, task, attempt):
        return ["capture 3/20 frames 60"]

    def result(self, dag, run, task):
        return "episodes/demo-1/0123456789abcdef"


def look(*instances):
    """The state of `capture`, and whether the pipeline is over with it."""
    states = next(Follower(Answers(*instances), "demo-1", "run", {}).states(60))
    return states[0], is_over(states)


def test_a_stage_as_a_whole_shows_its_progress():
    state, _ = look(instance("capture", "running"))
    assert (state.state, state.detail) == ("running", "3/20 frames 60")


@pytest.mark.parametrize(
    ("instances", "state", "detail"),
    [
        ([instance("capture_shard", None), instance("capture", None)], "pending", ""),
        ([*shards("queued", None), instance("capture", None)], "pending", ""),
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


STAGES = {
    "sim_capture": ["capture"],
    "data_cleaning": ["clean", "request_training"],
    "train_model": ["augment", "train", "validate"],
    "release_model": ["export", "push"],
}


class Chain:
    """An Airflow in which everything has succeeded, but for what a test changes."""

    def __init__(self, request="0123456789abcdef"):
        self.request = request
        self.states = {}
        self.triggered = []
        self.trainings = [("f" * 16, "of-another"), ("0123456789abcdef", "trained")]
        self.started = {"captured": ("data_cleaning", "cleaned"), "trained": ("release_model", "released")}

    def events(self, dag, run=None):
        if dag == "retrain":
            made = [({"requests": [asked]}, ("train_model", run)) for asked, run in self.trainings]
        else:
            made = [({}, self.started[run])] if run in self.started else []
        return [{"extra": extra, "created_dagruns": [{"dag_id": d, "run_id": r}]} for extra, (d, r) in made]

    def tasks(self, dag, run):
        return {each["task_id"]: each for each in self.instances(dag, run)}

    def instances(self, dag, run):
        if dag == "retrain":
            return [instance("decide", "running")]
        return [instance(task, self.states.get(task, "success"), end=20, begin=10) for task in STAGES[dag]]

    def latest_runs(self, dag):
        return [{"dag_run_id": "r"}]

    def result(self, dag, run, task):
        return self.request if task == "request_training" else f"{dag}/{run}/{task}"

    def trigger(self, dag, partition, conf):
        self.triggered.append((dag, partition, conf))
        self.started["by-hand"] = ("release_model", "released")
        return "by-hand"

    def log(self, dag, run, task, attempt):
        return ["[t] wait: cool-down: 3.0 minutes", "done"] if dag == "retrain" else []


def follow(airflow):
    (states,) = list(Follower(airflow, "demo-1", "captured", {"preset": "demo"}).states(60))
    return states


def test_the_runs_are_those_that_the_events_started_and_the_training_is_that_of_the_request():
    airflow = Chain()
    states = follow(airflow)
    assert [state.run for state in states] == ["captured", "cleaned", *["trained"] * 3, *["released"] * 2]
    assert airflow.triggered == []


def test_a_batch_that_asks_for_nothing_is_trained_on_by_hand():
    airflow = Chain(request=None)
    assert [state.run for state in follow(airflow)][2:] == [*["by-hand"] * 3, *["released"] * 2]
    assert airflow.triggered == [("train_model", "demo-1", {"preset": "demo"})]


def test_a_request_that_waits_says_for_what(monkeypatch):
    monkeypatch.setattr("sim2edge.follow.stages.SECONDS_BETWEEN_POLLS", 0.01)
    airflow = Chain()
    airflow.trainings.pop()
    looks = Follower(airflow, "demo-1", "captured", {}).states(60)
    states = next(looks)
    assert (states[2].stage, states[2].state, states[2].detail) == (
        "augment",
        "pending",
        "wait: cool-down: 3.0 minutes",
    )
    assert not is_over(states)
    airflow.trainings.append((airflow.request, "trained"))
    airflow.states["augment"] = "running"
    states = next(looks)
    assert (states[2].state, states[2].detail) == ("running", "")


def test_a_request_that_fails_ends_it_and_names_the_task_whose_log_tells_why():
    airflow = Chain()
    airflow.states["request_training"] = "failed"
    states = follow(airflow)
    assert (states[2].dag, states[2].run, states[2].task) == ("data_cleaning", "cleaned", "request_training")
    assert states[2].state == "failed"
