"""What the grid says of a stage, from its newest artifact and its newest run; and how a lineage graph is laid out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from benchmarks.made_up import fill
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from sim2edge.bus import Bus
from sim2edge.catalog import Catalog, Record
from sim2edge_airflow.pages.flywheel_grid import GridIndex, choose_batches, choose_thread, make_cell, make_rows
from sim2edge_airflow.pages.lineage_graph import COLUMNS, MAXIMUM, Node, draw, reduce
from sim2edge_airflow.pages.page_words import ago, duration, number, size, words
from sim2edge_airflow.pages.run_states import StageRun, choose

NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)


def record(kind="verdict", finished=NOW, refused=None, **numbers):
    reference = f"{kind}/b/0123456789abcdef"
    return Record(reference, "s", 1, finished, 12.0, 1000, {}, (), None, refused, "0", numbers)


def run(state, started=NOW, ended=NOW, reference=None, cached=None, task="validate", run_id="r"):
    return StageRun("b", "validate", "train_model", run_id, task, state, started, ended, reference, cached)


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("artifact", "newest", "state"),
    [
        (None, None, "missing"),
        (record(), None, "committed"),
        (record(refused="too low"), None, "refused"),
        (record(), run("running", ended=None), "running"),
        (None, run("up_for_retry", ended=None), "running"),
        (None, run("failed"), "failed"),
        (record(finished=NOW - HOUR), run("failed"), "failed"),
        (record(finished=NOW + HOUR), run("failed"), "committed"),
        (record(finished=NOW + timedelta(seconds=1)), run("success"), "committed"),
        (record(finished=NOW - HOUR), run("success"), "cached"),
        (record(finished=NOW - HOUR), run("success", cached=False), "committed"),
        (record(finished=NOW + HOUR), run("success", cached=True), "cached"),
        (None, run("success", reference="verdict/b/00000000000000ff"), "committed"),
        (record(refused="too low"), run("skipped"), "refused"),
        (None, run("upstream_failed"), "missing"),
    ],
)
def test_the_state_of_a_cell(artifact, newest, state):
    assert make_cell(artifact, newest, lambda _: None).state == state


def test_a_run_that_went_back_to_an_older_artifact_shows_that_one():
    older = record(map_50=0.5)
    cell = make_cell(record(map_50=0.4), run("success", reference=older.reference), lambda _: older)
    assert cell.quality == "passed 0.500"


def test_of_the_shards_of_a_run_the_one_that_runs_is_shown():
    shards = [run(state, task="capture_shard") for state in ("success", "running", "failed", "success")]
    assert choose(shards)["b", "validate"].state == "running"
    whole = run("success", task="capture")
    assert choose([whole, run("success", task="capture_shard")])["b", "validate"] is whole
    assert choose([run("running", run_id="old"), run("success", run_id="new")])["b", "validate"].run_id == "new"


@pytest.fixture
def catalog():
    bus = Bus(MemoryStore())
    fill(bus, batches=30, trainings=6)
    catalog = Catalog(bus)
    catalog.refresh()
    return catalog


def test_batches_are_chosen_by_name_state_and_stage(catalog):
    index = GridIndex()
    index.update(catalog)
    started = {"new": NOW, "night-0001": NOW, "failed-long-ago": NOW - timedelta(days=3000)}
    assert choose_batches(index, started)[:2] == ["new", "night-0029"], "what is new comes first, once"
    assert choose_batches(index, started)[-1] == "failed-long-ago"
    assert choose_batches(index, {}, text="NIGHT-002") == [f"night-{n:04d}" for n in range(29, 19, -1)]
    assert choose_batches(index, {}, state="refused") == ["night-0024"]
    assert choose_batches(index, {}, state="refused", stage="train") == []
    assert len(choose_batches(index, {}, state="missing", stage="push")) == 25
    assert choose_batches(index, {}, state="running", live={"night-0003"}) == ["night-0003"]


def test_a_batch_that_went_on_under_another_says_where(catalog):
    index = GridIndex()
    index.update(catalog)
    (row,) = make_rows(index, catalog, ["night-0001"], {})
    assert row.cells["augment"].elsewhere.partition == "night-0004"


# Lineage


@given(
    st.lists(st.tuples(st.sampled_from(COLUMNS), st.integers(0, 40)), min_size=1, max_size=60, unique=True),
    st.data(),
)
def test_a_graph_fits_its_picture_and_shows_what_it_is_about(kinds, data):
    nodes = [Node(f"{column}-{index}", column, "t", order=index) for column, index in kinds]
    keys = [node.key for node in nodes]
    edges = data.draw(st.sets(st.tuples(st.sampled_from(keys), st.sampled_from(keys)), max_size=80))
    edges = {(a, b) for a, b in edges if COLUMNS.index(a.split("-")[0]) < COLUMNS.index(b.split("-")[0])}
    focus = data.draw(st.sampled_from(keys))
    graph = draw(focus, nodes, edges)
    assert [box.node.key for box in graph.boxes if box.focus] == [focus]
    places = [(box.x, box.y) for box in graph.boxes]
    assert len(set(places)) == len(places), "no box lies on another"
    assert all(0 <= box.x < graph.width - 100 and 0 <= box.y < graph.height - 40 for box in graph.boxes)
    for column in {node.column for node in nodes}:
        boxes = [box for box in graph.boxes if box.node.column == column]
        assert len(boxes) <= MAXIMUM
        assert sum(box.more or 1 for box in boxes) == sum(node.column == column for node in nodes)


def test_a_thousand_batches_are_a_few_boxes():
    frames = [Node(f"f{n}", "frames", str(n), order=n) for n in range(1000)]
    episodes = [Node(f"e{n}", "episodes", str(n), order=1000 - n) for n in range(1000)]
    edges = {(f"e{n}", f"f{n}") for n in range(1000)} | {(f"f{n}", "d") for n in range(1000)}
    graph = draw("d", [Node("d", "dataset", "d"), *frames, *episodes], edges)
    assert len(graph.boxes) == 2 * MAXIMUM + 1
    more = [box for box in graph.boxes if box.more]
    assert [box.node.title for box in more] == ["and 993 more", "and 993 more"]
    kept = {box.node.key[1:] for box in graph.boxes if box.node.key[0] in "ef"}
    assert len(kept) == MAXIMUM - 1, "the same batches in both columns"
    assert len(graph.lines) == 2 * MAXIMUM


def test_lines_that_others_say_already_are_left_out():
    assert reduce({("a", "b"), ("b", "c"), ("a", "c")}) == {("a", "b"), ("b", "c")}


# Words


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (duration(0.84), "0.8 s"),
        (duration(57.2), "57 s"),
        (duration(202), "3 min"),
        (duration(9000), "2.5 h"),
        (duration(300_000), "3 d"),
        (size(0), "0 B"),
        (size(788_000), "788 kB"),
        (size(70_380_000), "70.4 MB"),
        (number(0.46659), "0.467"),
        (number(4000), "4,000"),
        (number(400_400), "400 k"),
        (number(None), ""),
        (number(True), "True"),
        (ago(NOW - timedelta(minutes=5), NOW), "5 min ago"),
        (ago(NOW - timedelta(days=90), NOW), "2026-02-05"),
        (number(10**400)[:9], "100000000"),
        (duration(float("inf")), ""),
        (size(10**400), ""),
        (ago(NOW + timedelta(hours=9), NOW), "9.0 h ahead of our clock"),
        (ago(NOW + timedelta(seconds=1), NOW), "0.0 s ago"),
        (words({"chair": 2, "rug": 0}), "chair 2"),
        (words({"a": {"b": "it's"}}), '{"a": {"b": "it\'s"}}'),
        (words([]), "none"),
        (words("x" * 9999), "x" * 399 + "…"),
        (words(3900), "3,900"),
    ],
)
def test_times_and_sizes_are_words(said, expected):
    assert said == expected


def test_a_task_marked_as_success_that_left_no_artifact_is_no_success():
    cell = make_cell(None, run("success"), lambda _: None)
    assert (cell.state, cell.note) == ("failed", "marked as success without an artifact: clear it")
    lagging = make_cell(None, run("success", reference="verdict/b/0123456789abcdef"), lambda _: None)
    assert lagging.state == "committed", "the catalog is some seconds behind"


def made(kind, number, hours, **inputs):
    """An artifact of batch `b`, made some hours ago."""
    given = {role: (f"{role}/b/{each:016x}",) for role, each in inputs.items()}
    at = NOW - hours * HOUR
    return Record(f"{kind}/b/{number:016x}", "s", 1, at, 12.0, 1000, given, (), None, None, "0", {})


def test_a_row_shows_one_training_and_no_release_of_another_model():
    first = [made("dataset", 1, 9), made("model", 1, 8, dataset=1), made("verdict", 1, 7, model=1, dataset=1)]
    first += [made("release", 1, 6, verdict=1, model=1), made("rollout", 1, 5, release=1)]
    second = [made("dataset", 2, 4), made("model", 2, 3, dataset=2), made("verdict", 2, 2, model=2, dataset=2)]
    by_kind: dict[str, list[Record]] = {}
    for each in sorted([*first, *second], key=lambda record: record.finished, reverse=True):
        by_kind.setdefault(each.kind, []).append(each)
    assert choose_thread(by_kind) == {each.kind: each for each in second}
    assert choose_thread({each.kind: [each] for each in first}) == {each.kind: each for each in first}


def test_frames_of_episodes_that_were_captured_again_are_not_those_of_the_batch():
    episodes, frames = made("episodes", 2, 1), made("frames", 1, 5, episodes=1)
    assert choose_thread({"episodes": [episodes, made("episodes", 1, 9)], "frames": [frames]}) == {"episodes": episodes}


def dataset_later(catalog, hours):
    """The frames of night-0001, and a failed training that ended some hours before a dataset of a later batch."""
    frames = next(r for r in catalog.records() if r.kind == "frames" and r.partition == "night-0001")
    first = min(catalog.get(each).finished for each in catalog.children(frames.reference))
    failed = run("failed", ended=first - hours * HOUR, task="augment")
    return {("night-0001", "augment"): replace(failed, failure="no frames left")}


def test_a_failure_is_over_once_a_later_dataset_contains_the_batch(catalog):
    index = GridIndex()
    index.update(catalog)
    (row,) = make_rows(index, catalog, ["night-0001"], dataset_later(catalog, 1))
    cell = row.cells["augment"]
    assert (cell.state, cell.elsewhere.partition) == ("missing", "night-0004")
    assert f"trained on after all, in {cell.elsewhere.reference}" in cell.note
    assert row.shows("failed", "") is False


def test_a_failure_after_every_dataset_stays_one_and_says_its_line(catalog):
    index = GridIndex()
    index.update(catalog)
    (row,) = make_rows(index, catalog, ["night-0001"], dataset_later(catalog, -10_000))
    cell = row.cells["augment"]
    assert (cell.state, cell.note) == ("failed", "no frames left")
    assert (row.shows("failed", ""), row.shows("failed", "augment"), row.shows("failed", "train")) == (
        True,
        True,
        False,
    )
    assert row.run.state == "failed", "the run to open first"


def test_a_failed_repetition_shows_what_the_batch_was_trained_with(catalog):
    index = GridIndex()
    index.update(catalog)
    (ended,) = [each.ended for each in dataset_later(catalog, 1).values()]
    again = {("night-0001", "clean"): run("failed", ended=ended, task="clean")}
    (row,) = make_rows(index, catalog, ["night-0001"], again)
    assert (row.cells["clean"].state, row.cells["clean"].elsewhere) == ("committed", None)
