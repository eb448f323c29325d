"""Actions of the pages: who may do what, what is asked for first, what a run is started with, what is kept of it."""

import json
from datetime import UTC, datetime

import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.models.variable import Variable
from airflow.utils.session import create_session
from page_visitor import FROM_US, WHY, send, token_of
from sqlalchemy import select, update

from sim2edge.hold import VARIABLE, parse
from sim2edge.tombstone import Event
from sim2edge.withdrawal import record
from sim2edge_airflow import airflow_database as database
from sim2edge_airflow.assets import EPISODES
from sim2edge_airflow.pages.acting import form_guard
from sim2edge_airflow.pages.acting.routes import ACTIONS

CAPTURE = "capture?batch=new-1&preset=tiny"
QUERIES = {
    "capture": "batch=new-1",
    "start": "batch=night-0001&dag=data_cleaning",
    "retry": "dag=sim_capture&run=r1",
    "retrain": "",
    "hold": "",
    "resume": "",
    "withdraw": "batch=night-0001",
    "lift": "batch=night-0001",
    "erase": "batch=night-0001",
    "move-ring": "ring=stable&release=release/night-0005/0123456789abcdef",
    "star": "artifact=model/night-0001/0123456789abcdef&star=yes",
    "archive": "artifact=model/night-0001/0123456789abcdef&archived=yes",
    "name": "artifact=model/night-0001/0123456789abcdef&name=best",
    "withdraw-release": "release=release/night-0005/0123456789abcdef",
}
"""Fields of each action, for who may not do it."""


def runs(dag_id):
    with create_session() as session:
        return list(session.scalars(select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id)))


def logged():
    with create_session() as session:
        entries = session.scalars(select(Log).where(Log.event.startswith("sim2edge")).order_by(Log.id))
        return [(each.event, each.owner, json.loads(each.extra), each.dag_id) for each in entries]


def failed_run(session):
    """A run of `sim_capture` whose task has failed."""

    class Ann:
        get_name = get_id = staticmethod(lambda: "ann")

    database.start_run(session, "sim_capture", run_id="r1", partition="b-1", conf={}, user=Ann, note="first")
    session.flush()
    session.execute(update(TaskInstance).where(TaskInstance.run_id == "r1").values(state="failed"))
    session.execute(update(DagRun).where(DagRun.run_id == "r1").values(_state="failed"))


# A run, and the traces of it


def test_a_capture_is_explained_started_once_and_leaves_who_and_why(person):
    client = person("user")
    page = client.get(f"/sim2edge/actions/{CAPTURE}").text
    assert "simulates the drives of batch new-1 with preset tiny" in page
    assert "sim2edge trigger sim_capture --partition new-1 --preset tiny" in page
    assert runs("sim_capture") == []
    answer = send(client, CAPTURE)
    (run,) = runs("sim_capture")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sim2edge/runs/sim_capture/manual__")
    assert (run.partition_key, run.conf, run.triggering_user_name) == ("new-1", {"preset": "tiny"}, "user")
    assert logged() == [("sim2edge: start sim_capture", "user", {"reason": WHY, "batch": "new-1"}, "sim_capture")]
    shown = client.get(answer.headers["location"])
    assert shown.status_code == 200
    assert f"user: {WHY}" in shown.text


def test_the_same_form_starts_one_run_however_often_it_is_sent(person):
    client = person("user")
    token = token_of(client, CAPTURE)
    answers = [send(client, CAPTURE, token) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert len(runs("sim_capture")) == 1


def test_who_comes_back_to_the_form_is_shown_the_run_and_starts_no_other(person):
    client = person("user")
    stale = token_of(client, CAPTURE)
    first = send(client, CAPTURE)
    assert "user has started this already" in client.get(f"/sim2edge/actions/{CAPTURE}").text
    assert send(client, CAPTURE, stale).headers["location"] == first.headers["location"]
    assert len(runs("sim_capture")) == 1


def test_two_at_the_same_moment_start_one_run(person, monkeypatch):
    """The second is where it sees no run yet when the first one commits."""
    client = person("user")
    token = token_of(client, CAPTURE)
    first = send(client, CAPTURE, token)
    with create_session() as session:
        session.execute(update(DagRun).values(_state="success"))
    find, blind = database.find_run, iter([True])
    monkeypatch.setattr(database, "find_run", lambda *of: None if next(blind, False) else find(*of))
    assert send(client, CAPTURE, token).headers["location"] == first.headers["location"]
    assert next(blind, "used") == "used"
    assert len(runs("sim_capture")) == 1


# Who may


@pytest.mark.parametrize("name", [name for name, action in ACTIONS.items() if action.perform])
def test_who_may_not_sees_why_and_no_form_and_sends_nothing(person, name):
    with create_session() as session:
        failed_run(session)
    page = person("viewer").get(f"/sim2edge/actions/{name}?{QUERIES[name]}")
    assert page.status_code == 200
    assert "You may not" in page.text
    assert 'method="post"' not in page.text
    token = form_guard.make_token("viewer", name, dict(pair.split("=") for pair in QUERIES[name].split("&") if pair))
    answer = send(person("viewer"), name, token)
    assert answer.status_code == 403
    assert "You may not" in answer.text


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("user", 403), ("op", 303), ("admin", 303)])
def test_the_system_is_held_by_who_may_change_variables_and_pause_dags(person, role, status):
    assert send(person(role), "hold", form_guard.make_token(role, "hold", {})).status_code == status


@pytest.mark.parametrize("name", ACTIONS)
def test_without_a_login_there_is_nothing(person, name):
    client = person(None)
    assert client.get(f"/sim2edge/actions/{name}").status_code == 401
    assert send(client, name, "x").status_code == 401


# What is refused


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {},
    ],
)
def test_a_form_of_another_site_is_refused_even_with_a_good_token(person, headers):
    client = person("admin")
    answer = send(client, CAPTURE, headers=headers)
    assert answer.status_code == 403
    assert "not sent by a page of this site" in answer.text
    assert runs("sim_capture") == []


def test_an_old_browser_that_names_only_its_origin_is_let_in(person):
    assert send(person("user"), CAPTURE, headers={"Origin": "http://127.0.0.1"}).status_code == 303


@pytest.mark.parametrize("token", ["", "x", "WyJ1c2VyIl0.x.y"])
def test_without_its_token_a_form_is_refused(person, token):
    answer = send(person("user"), CAPTURE, token or " ")
    assert answer.status_code == 403
    assert "expired" in answer.text


def test_a_token_serves_one_person_and_one_action(person):
    token = token_of(person("user"), CAPTURE)
    assert send(person("op"), CAPTURE, token).status_code == 403
    assert send(person("user"), "retrain", token).status_code == 403
    assert runs("sim_capture") == []


def test_a_form_that_was_shown_long_ago_is_refused(person, monkeypatch):
    client = person("user")
    token = token_of(client, CAPTURE)
    monkeypatch.setattr(form_guard, "LASTS", -form_guard.timedelta(seconds=2))
    assert send(client, CAPTURE, token).status_code == 403


def test_json_is_refused(person):
    client = person("user")
    body = {"token": token_of(client, CAPTURE), "reason": WHY}
    assert client.post("/sim2edge/actions/capture", json=body, headers=FROM_US).status_code == 415


def test_a_huge_form_is_refused(person):
    assert send(person("user"), CAPTURE, reason="x" * 100_000).status_code == 413


@pytest.mark.parametrize("reason", ["", "   ", "a\nb", "x" * 201, "a\x00b"])
def test_a_reason_is_one_line(person, reason):
    answer = send(person("user"), CAPTURE, reason=reason)
    assert answer.status_code == 400
    assert "reason: expected one line of 1 to 200" in answer.text
    assert runs("sim_capture") == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("capture?batch=Bad Name", "Bad Name"),
        ("capture?batch=%3Cscript%3Ealert(1)%3C/script%3E", "partition"),
        ("capture?batch=b-1&preset=nope", "preset: &#39;nope&#39; is not one of: default, demo, tiny"),
        ("capture?batch=b-1&overrides=x", "&#39;overrides&#39; is not one of: batch, preset, replace"),
        ("start?batch=b-1&dag=retention", "dag: &#39;retention&#39; is not one of"),
        ("retry?dag=somebody_elses&run=x", "not a DAG of these pages"),
        ("retry?dag=sim_capture&run=none", "has no run &#39;none&#39;"),
        ("hold?x=1", "is not one of: nothing"),
        ("capture?batch=" + "x" * 300, "batch: expected one line of up to 200"),
    ],
)
def test_a_bad_parameter_is_one_line(person, query, says):
    answer = person("admin").get(f"/sim2edge/actions/{query}")
    assert answer.status_code == 400
    assert says in answer.text
    assert "<script>alert" not in answer.text


def test_an_unknown_action_is_not_found(person):
    assert person("admin").get("/sim2edge/actions/x").status_code == 404


def test_a_reason_is_shown_as_text(person):
    client = person("user")
    shown = client.get(send(client, CAPTURE, reason="<script>alert(1)</script>").headers["location"])
    assert "&lt;script&gt;alert(1)" in shown.text
    assert "<script>alert" not in shown.text


def test_a_withdrawn_batch_is_not_captured_and_the_page_says_why(person, bucket):
    record(bucket, "new-1", Event(action="withdraw", reason="wrong labels", by="ana", at=datetime.now(UTC)))
    client = person("user")
    page = client.get(f"/sim2edge/actions/{CAPTURE}").text
    assert "by ana: wrong labels" in page
    assert 'method="post"' not in page
    answer = send(client, CAPTURE, form_guard.make_token("user", "capture", {"batch": "new-1"}))
    assert answer.status_code == 409
    assert "by ana: wrong labels" in answer.text


# Others


def test_what_waits_is_started(person):
    client = person("user")
    answer = send(client, "start?batch=night-0001&dag=data_cleaning")
    assert answer.status_code == 303
    (run,) = runs("data_cleaning")
    assert (run.partition_key, run.conf) == ("night-0001", {})


def test_what_waits_is_started_with_the_settings_of_the_event_that_was_missed(person):
    extra = {"preset": "tiny", "overrides": ["capture.episodes=14", "clean.width=48"]}
    with create_session() as session:
        asset = session.scalar(select(AssetModel).where(AssetModel.name == EPISODES.name))
        if asset is None:
            asset = AssetModel(name=EPISODES.name, uri=EPISODES.uri, group="asset")
            session.add(asset)
            session.flush()
        session.add(AssetEvent(asset_id=asset.id, partition_key="night-0001", extra=extra))
    client = person("user")
    query = "start?batch=night-0001&dag=data_cleaning"
    page = client.get(f"/sim2edge/actions/{query}").text
    assert "with preset tiny, clean.width=48" in page
    assert "sim2edge trigger data_cleaning --partition night-0001 --preset tiny clean.width=48" in page
    assert send(client, query).status_code == 303
    (run,) = runs("data_cleaning")
    assert run.conf == {"preset": "tiny", "overrides": ["clean.width=48"]}, "capture's are not for this DAG"


def test_a_ring_without_devices_is_pointed_out_and_what_push_would_refuse_is_not_offered(person, bucket):
    release = next(bucket.artifacts("release"))
    query = f"move-ring?ring=stabel&release={release}"
    assert "No device reports from ring stabel" in person("user").get(f"/sim2edge/actions/{query}").text
    batch = release.split("/")[1]
    record(bucket, batch, Event(action="withdraw", reason="blurred", by="ana", at=datetime.now(UTC)))
    client = person("user")
    page = client.get(f"/sim2edge/actions/{query}").text
    assert "push refuses it" in page
    assert 'name="token"' not in page
    assert runs("fleet_change") == []


def test_bytes_that_are_no_text_are_refused(person):
    client = person("user")
    body = f"token={token_of(client, CAPTURE)}&reason=%ff%fe".encode()
    headers = FROM_US | {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/sim2edge/actions/capture", content=body, headers=headers).status_code == 400
    assert runs("sim_capture") == []


def test_a_training_is_requested_with_the_reason(person):
    assert send(person("user"), "retrain").status_code == 303
    assert runs("retrain")[0].conf == {"reason": WHY}


def test_what_failed_runs_again_in_the_same_run(person):
    with create_session() as session:
        failed_run(session)
    client = person("user")
    action = "retry?dag=sim_capture&run=r1"
    assert "<li>capture</li>" in client.get(f"/sim2edge/actions/{action}").text
    token = token_of(client, action)
    answers = [send(client, action, token) for _ in range(2)]
    assert [answer.headers["location"] for answer in answers] == ["/sim2edge/runs/sim_capture/r1"] * 2
    (run,) = runs("sim_capture")
    with create_session() as session:
        note = session.get(DagRun, run.id).note
        states = list(session.scalars(select(TaskInstance.state).where(TaskInstance.run_id == "r1")))
    assert (str(run.state), states) == ("queued", [None])
    assert note == f"user ran what failed again: {WHY}\nfirst"
    assert [entry[0] for entry in logged()] == ["sim2edge: retry"]


def test_the_system_is_held_and_resumed_with_who_and_why(person):
    with create_session() as session:
        session.execute(update(DagModel).values(is_paused=False))
        session.execute(update(DagModel).where(DagModel.dag_id == "ingest_batch").values(is_paused=True))
    client = person("op")
    assert "<li>sim_capture</li>" in client.get("/sim2edge/actions/hold").text
    token = token_of(client, "hold")
    assert [send(client, "hold", token).headers["location"] for _ in range(2)] == ["/sim2edge/flywheel"] * 2
    with create_session() as session:
        held = parse(session.scalar(select(Variable).where(Variable.key == VARIABLE)).val)
        active = set(session.scalars(select(DagModel.dag_id).where(DagModel.is_paused.is_(False))))
    assert (held.by, held.reason, active) == ("op", WHY, {"refresh_fleet"})  # the fleet runs on
    assert "ingest_batch" not in held.dags
    assert f"by op: {WHY}" in client.get("/sim2edge/flywheel").text
    assert send(client, "resume").headers["location"] == "/sim2edge/flywheel"
    with create_session() as session:
        assert session.scalar(select(Variable).where(Variable.key == VARIABLE)) is None
        assert set(session.scalars(select(DagModel.dag_id).where(DagModel.is_paused.is_(True)))) == {"ingest_batch"}
    assert [entry[:2] for entry in logged()] == [("sim2edge: hold", "op"), ("sim2edge: resume", "op")]
    assert "The system is not on hold" in client.get("/sim2edge/actions/resume").text
