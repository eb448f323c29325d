"""The webhook lets in who has the token, believes nothing, and does one thing."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from sim2edge_airflow.pages import arrival_hook
from sim2edge_airflow.pages.arrival_hook import MAX_BODY, make_hook, named_batches

TOKEN = "0123456789abcdef-0123456789abcdef"
SEAWEED = {
    "event_type": "create",
    "key": "/buckets/sim2edge/inbox/lab-1/READY.json",
    "message": {"new_entry": {"name": "READY.json"}, "new_parent_path": "/buckets/sim2edge/inbox/lab-1"},
}


def s3_event(key, bucket="sim2edge", name="s3:ObjectCreated:Put"):
    """As MinIO sends it; AWS leaves `s3:` out."""
    record = {"eventName": name, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}
    return {"EventName": name, "Key": f"{bucket}/{key}", "Records": [record]}


@pytest.fixture
def noted(monkeypatch):
    found = []
    monkeypatch.setenv("SIM2EDGE_BUCKET", "sim2edge")
    monkeypatch.setenv("SIM2EDGE_INBOX_TOKEN", TOKEN)
    monkeypatch.setattr(arrival_hook, "note_arrival", lambda batches: found.append(batches) or True)
    return found


@pytest.fixture
def hook(noted):
    return TestClient(make_hook(), headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize(
    "event",
    [
        SEAWEED,
        s3_event("inbox/lab-1/READY.json"),
        s3_event("inbox%2Flab-1%2FREADY.json"),
        s3_event("inbox/lab-1/READY.json", name="ObjectCreated:CompleteMultipartUpload"),
    ],
)
def test_the_listing_of_a_batch_wakes(hook, noted, event):
    answer = hook.post("/arrived", json=event)
    assert (answer.status_code, answer.json()) == (200, {"arrived": 1})
    assert noted == [["lab-1"]]


def test_events_of_several_batches_wake_once(hook, noted):
    events = [s3_event(f"inbox/lab-{number}/READY.json")["Records"][0] for number in (1, 2, 2)]
    assert hook.post("/arrived", json={"Records": events}).json() == {"arrived": 2}
    assert noted == [["lab-1", "lab-2"]]


HOSTILE_KEYS = [
    "inbox/lab-1/a.mcap",
    "inbox/lab-1/x/READY.json",
    "inbox/../READY.json",
    "inbox/../inbox/lab-1/READY.json",
    "inbox/%2e%2e/READY.json",
    "inbox/%252e%252e/READY.json",
    "inbox/<script>/READY.json",
    "inbox/日本/READY.json",
    f"inbox/{'x' * 10_240}/READY.json",
    "inbox/lab-1/READY.json\n",
    "registered/lab-1/READY.json",
    "other/inbox/lab-1/READY.json",
    "",
]


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_anything_else_does_nothing(hook, noted, key):
    for event in (s3_event(key), SEAWEED | {"key": f"/buckets/sim2edge/{key}"}):
        answer = hook.post("/arrived", json=event)
        assert (answer.status_code, answer.json()) == (200, {"arrived": 0})
    assert noted == []


def test_other_buckets_and_deletions_do_nothing(hook, noted):
    key = "inbox/lab-1/READY.json"
    for event in (
        s3_event(key, bucket="other"),
        s3_event(key, name="s3:ObjectRemoved:Delete"),
        SEAWEED | {"event_type": "delete"},
        SEAWEED | {"key": f"/buckets/other/{key}"},
    ):
        assert hook.post("/arrived", json=event).json() == {"arrived": 0}
    assert noted == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["Records", "s3", "bucket", "object", "name", "key", "eventName", "event_type"]), inner
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_is_sent_names_batch_ids_or_nothing(content):
    assert list(named_batches(content, "sim2edge")) == []


def test_who_has_no_token_learns_nothing(noted):
    hook = TestClient(make_hook())
    wrong = ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer é"]
    for header in wrong:
        answer = hook.post("/arrived", json=SEAWEED, headers={"Authorization": header.encode()})
        assert answer.status_code == 401
        assert TOKEN not in answer.text
    assert hook.post("/arrived", json=SEAWEED).status_code == 401
    assert noted == []


@pytest.mark.parametrize("token", ["", "short"])
def test_without_a_token_there_is_no_webhook(noted, monkeypatch, token):
    monkeypatch.setenv("SIM2EDGE_INBOX_TOKEN", token)
    hook = TestClient(make_hook())
    for header in ({}, {"Authorization": f"Bearer {token}"}, {"Authorization": "Bearer"}):
        assert hook.post("/arrived", json=SEAWEED, headers=header).status_code == 404
    assert noted == []


def test_nothing_else_is_served(hook):
    for path in ("/", "/docs", "/openapi.json", "/arrived/x"):
        assert hook.get(path).status_code == 404
    assert hook.get("/arrived").status_code == 405


def test_bodies_that_are_too_large_or_no_json_are_refused(hook, noted):
    assert hook.post("/arrived", content=b" " * (MAX_BODY + 1)).status_code == 413
    for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        assert hook.post("/arrived", content=body).status_code == 400
    assert noted == []


def test_the_server_is_asked_to_try_again_while_airflow_does_not_know_the_asset(hook, monkeypatch):
    monkeypatch.setattr(arrival_hook, "note_arrival", lambda batches: False)
    answer = hook.post("/arrived", json=SEAWEED)
    assert answer.status_code == 503
    assert json.loads(answer.text)["detail"].startswith("Airflow does not know the asset inbox_arrived yet")


@pytest.fixture
def watch_inbox(airflow_database):
    """The DAG as Airflow's database knows it; a function that changes that."""
    from airflow.models.asset import AssetActive, AssetDagRunQueue, AssetEvent, AssetModel, DagScheduleAssetReference
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    tables = (AssetEvent, AssetDagRunQueue, DagRun, DagScheduleAssetReference, AssetActive, AssetModel, DagModel)
    with create_session() as session:
        asset = AssetModel(name="inbox_arrived", uri="inbox_arrived")
        session.add_all([asset, DagBundleModel(name="b")])
        session.flush()
        session.add(AssetActive.for_asset(asset))
        session.add(DagModel(dag_id="watch_inbox", bundle_name="b", fileloc="x", is_paused=False))
        session.flush()
        session.add(DagScheduleAssetReference(asset_id=asset.id, dag_id="watch_inbox"))

    def change(statement):
        with create_session() as session:
            session.execute(statement)

    yield change
    for table in (*tables, DagBundleModel):
        change(delete(table))


def events():
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return [(event.extra, event.partition_key) for event in session.scalars(select(AssetEvent))]


def run_that_is(state):
    from airflow.models.dagrun import DagRun
    from sqlalchemy import insert

    what = {"run_id": state, "run_type": "asset_triggered", "state": state, "run_after": datetime.now(UTC)}
    return insert(DagRun).values(dag_id="watch_inbox", log_template_id=1, **what)


def test_an_asset_that_airflow_does_not_know_yet_is_said(airflow_database):
    assert arrival_hook.note_arrival(["lab-1"]) is False


def test_of_a_flood_of_events_one_waits(watch_inbox):
    for _ in range(20):
        assert arrival_hook.note_arrival([f"lab-{number}" for number in range(9)]) is True
    ((extra, partition),) = events()
    assert (extra["count"], len(extra["some"]), partition) == (9, 5, None)


@pytest.mark.parametrize(("state", "more"), [("queued", 0), ("running", 1), ("success", 1)])
def test_a_run_that_has_not_begun_will_see_what_arrived_and_is_enough(watch_inbox, state, more):
    watch_inbox(run_that_is(state))
    assert arrival_hook.note_arrival(["lab-1"]) is True
    assert len(events()) == more


def test_while_the_dag_is_paused_nothing_is_written(watch_inbox):
    from airflow.models.dag import DagModel
    from sqlalchemy import update

    watch_inbox(update(DagModel).values(is_paused=True))
    assert arrival_hook.note_arrival(["lab-1"]) is True
    assert events() == []
    watch_inbox(update(DagModel).values(is_paused=False))
    assert arrival_hook.note_arrival(["lab-1"]) is True
    assert len(events()) == 1


def test_a_body_that_never_ends_is_given_up(noted, monkeypatch):
    monkeypatch.setattr(arrival_hook, "MAX_S", 0.2)
    sent = []

    async def post():
        async def receive():
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b" ", "more_body": True}

        async def send(message):
            sent.append(message)

        headers = [(b"authorization", f"Bearer {TOKEN}".encode())]
        scope = {"type": "http", "method": "POST", "path": "/arrived", "query_string": b"", "headers": headers}
        await asyncio.wait_for(make_hook()(scope, receive, send), 5)

    asyncio.run(post())
    assert sent[0]["status"] == 408
    assert noted == []
