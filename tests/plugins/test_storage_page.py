"""The page of storage: bytes by kind and batch, retention, and what caching saved."""

from datetime import UTC, datetime

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from obstore.store import MemoryStore
from page_visitor import pages_of
from sqlalchemy import insert

from sim2edge.bus import Bus
from sim2edge.catalog import Catalog
from sim2edge.cost import took, total
from sim2edge.retention import KindPolicy, Removal, RetentionPolicy
from sim2edge.retire import retire, survey
from sim2edge_airflow.pages.bus_view import BusView
from sim2edge_airflow.pages.costs import sum_savings
from sim2edge_airflow.pages.page_words import duration, size
from sim2edge_airflow.pages.storage_page import preview, share_out

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ALL = RetentionPolicy(kinds={kind: KindPolicy(days=1, superseded_days=1) for kind in ("episodes", "frames", "model")})


@pytest.fixture
def catalog(bucket):
    found = Catalog(bucket)
    found.refresh()
    return found


@pytest.fixture
def policy(monkeypatch, tmp_path):
    """Returns a function that writes the policy of the folder of DAGs."""
    from airflow.configuration import conf

    real = conf.get
    monkeypatch.setattr(
        "sim2edge_airflow.pages.storage_page.conf.get",
        lambda section, key, **more: str(tmp_path) if key == "dags_folder" else real(section, key, **more),
    )
    return lambda text: (tmp_path / "retention.yml").write_text(text)


def test_bytes_are_shared_out_by_kind_the_largest_first(catalog):
    found = share_out(catalog.records(), lambda record: record.kind)
    assert [each.name for each in found][:2] == ["episodes", "frames"]
    assert sum(each.share for each in found) == pytest.approx(1)
    assert found[0].total.bytes == 6 * 70_000_000


def test_the_page_lists_kinds_batches_and_the_largest_artifacts(visitor):
    page = visitor.get("/sim2edge/storage").text
    for part in (
        "420.0 MB".replace(".0", ""),
        "<h2>By batch, the largest first",
        "Bytes by kind",
        "Nothing was retired yet",
    ):
        assert part in page, part
    assert page.index("By batch") < page.index('href="/sim2edge/batches/night-0005"')
    assert page.count('<td><a href="/sim2edge/batches/') == 6


def test_the_preview_is_what_retention_would_retire(bucket):
    view = BusView(lambda: bucket)
    view.catalog(), view.refs(), view.fleet()
    exact = survey(bucket, NOW).choose(ALL, NOW)
    found = preview(view, view.catalog().records(), ALL, NOW)
    assert exact
    assert (found.count, found.bytes) == (len(exact), sum(each.bytes for each in exact))
    assert [each.reference for each in found.listed] == [each.reference for each in exact]


def test_the_page_names_what_the_policy_would_retire(visitor, policy):
    policy("kinds: {episodes: {days: 1}}")
    page = visitor.get("/sim2edge/storage").text
    assert "The policy would retire <b>6 artifacts, 420 MB</b> now." in page
    assert "older than 1 days" in page


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("kinds: {}", "The policy keeps everything"),
        ("kinds: {<b>: {days: 1}}", "kinds: &#39;&lt;b&gt;&#39; is not one of"),
        ("[", "The policy of retention is not shown"),
    ],
)
def test_a_policy_that_keeps_everything_or_is_wrong_is_one_line(visitor, policy, text, part):
    policy(text)
    answer = visitor.get("/sim2edge/storage")
    assert answer.status_code == 200
    assert part in answer.text


def test_the_last_run_of_retention_is_listed_with_its_reasons(api, visitor, bucket):
    episodes = sorted(bucket.artifacts("episodes"))
    early = datetime(2026, 1, 2, tzinfo=UTC)
    retire(bucket, Removal(episodes[0], 5, "older than <b>1</b> day"), "ann", early)
    for reference in episodes[1:3]:
        retire(bucket, Removal(reference, 5, "not among the <b>3</b> newest"), "retention", NOW)
    bucket.put("withdrawn/retired/model/x/broken.json", b"{}")
    pages_of(api).state.view = BusView(lambda: bucket)
    page = visitor.get("/sim2edge/storage").text
    assert "2030-01-01 00:00:00 UTC</time> by retention" in page
    assert "retired <b>2 artifacts, 140 MB</b>; 3 were retired ever" in page
    assert "not among the &lt;b&gt;3&lt;/b&gt; newest" in page
    assert "older than &lt;b&gt;1" not in page


def add_outcomes(batch, outcomes):
    """A run with a task for each outcome, in Airflow's database."""
    key = {"dag_id": "train_model", "run_id": f"manual__{batch}"}
    run = DagRun(**key, run_type=DagRunType.MANUAL, run_after=NOW, state=DagRunState.SUCCESS, partition_key=batch,
                 triggered_by=DagRunTriggeredByType.TEST)  # fmt: skip
    with create_session() as session:
        session.add(run)
        session.flush()
        number = run.id
        for task, outcome in outcomes.items():
            row = {**key, "task_id": task, "map_index": -1}
            instance = {**row, "state": "success", "pool": "default_pool", "try_number": 1, "max_tries": 1}
            session.execute(insert(TaskInstance.__table__), [instance])
            value = {**row, "dag_run_id": number, "key": "outcome", "value": outcome}
            session.execute(insert(XComModel.__table__), [value])


def test_what_cached_tasks_saved_is_summed_up_for_all_and_for_a_batch(visitor, bucket):
    model, dataset = (next(iter(bucket.artifacts(kind, "night-0005"))) for kind in ("model", "dataset"))
    add_outcomes("night-0005", {
        "train": {"cached": True, "saved_s": 202.0, "saved_bytes": 1000, "reference": model},
        "augment": {"cached": False, "saved_s": 0.0, "saved_bytes": 0, "reference": dataset},
    })  # fmt: skip
    add_outcomes("night-0004", {"train": {"cached": True, "saved_s": 98.0, "saved_bytes": 5, "reference": model}})
    page = visitor.get("/sim2edge/storage").text
    assert f'<div class="big">{duration(300.0)}</div><div class="quiet">duration' in page
    assert "2 of the newest 3 stage tasks" in page
    of_batch = visitor.get("/sim2edge/batches/night-0005").text
    assert f"Cached results saved {duration(202.0)}" in of_batch
    assert "1 of 2 stage tasks" in of_batch


@pytest.mark.parametrize(
    "outcome",
    [None, "cached", {"cached": "yes"}, {"cached": True}, {"cached": True, "saved_s": "long", "reference": 7},
     {"cached": True, "saved_s": -5, "saved_bytes": float("nan"), "reference": "../x"}],
)  # fmt: skip
def test_an_outcome_that_says_nothing_saves_nothing(catalog, outcome):
    found = sum_savings(catalog, [outcome])
    assert (found.wall_s, found.cpu_s, found.bytes) == (0, 0, 0)


def test_an_artifact_shows_what_it_took_with_all_that_it_was_made_from(visitor, bucket, catalog):
    model = next(iter(bucket.artifacts("model", "night-0005")))
    whole = total(took(catalog, model))
    page = visitor.get(f"/sim2edge/artifacts/{model}").text
    assert "<h2>What it took" in page
    assert f'<td class="n">{whole.artifacts}</td><td class="n nowrap">{duration(whole.wall_s)}</td>' in page
    assert size(whole.bytes) in page


def test_an_empty_bucket_has_no_bytes(api, visitor):
    pages_of(api).state.view = BusView(lambda: Bus(MemoryStore()))
    assert "No artifact yet" in visitor.get("/sim2edge/storage").text


@pytest.mark.parametrize("page", ["0", "x", "-1", "999999999"])
def test_a_wrong_page_is_one_line(visitor, page):
    assert visitor.get(f"/sim2edge/storage?page={page}").status_code == 400
