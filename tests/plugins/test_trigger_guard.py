"""A request that would start a run with a mistake in it is answered at once; every other passes to Airflow.

Airflow has no DAGs in its database here: 404 from it says that a request has passed.
"""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from page_visitor import log_in
from plugins.fake_stage import produce

from sim2edge import plan as plans
from sim2edge.tombstone import Event
from sim2edge.withdrawal import record
from sim2edge_airflow.pages.trigger_guard import name_partition

NOW = datetime.now(UTC)


def trigger(client, dag="sim_capture", batch="demo-1", **conf):
    body = {"logical_date": None, "partition_key": batch, "conf": conf}
    answer = client.post(f"/api/v2/dags/{dag}/dagRuns", json=body)
    return answer.status_code, answer.json()["detail"]


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        (
            {"presett": "demo"},
            "conf 'presett' is not one of: batch, episode_seconds, episodes, overrides, preset, replace",
        ),
        ({"preset": "demoo"}, "preset 'demoo' is not one of: default, demo, tiny"),
        ({"preset": 7}, "conf 'preset': expected the name of a file"),
        ({"preset": "../../etc/passwd"}, "preset '../../etc/passwd' is not one of"),
        ({"overrides": ["capture.episodez=4"]}, "capture.episodez: unknown key"),
        ({"overrides": ["capture.episodes=many"]}, "capture.episodes: input should be a valid integer"),
        ({"overrides": ["augment.copiez=4"]}, "augment.copiez: unknown key"),
        ({"overrides": ["train.epochs=4"]}, "sim_capture takes settings of capture, clean, augment"),
        ({"overrides": ["push.ring=stable"]}, "those of push are given to release_model"),
        ({"overrides": "capture.episodes=4"}, "conf 'overrides': expected a list"),
        ({"overrides": [{"a": 1}]}, "conf 'overrides': expected a list"),
        ({"episodes": "many"}, "capture.episodes: input should be a valid integer"),
    ],
)
def test_a_mistake_in_the_conf_is_named(browser, conf, says):
    status, detail = trigger(browser, **conf)
    assert status == 422
    assert says in detail


@pytest.mark.parametrize("batch", [None, "", "Demo 1", "../demo", 7, "x" * 200])
def test_so_is_a_missing_or_wrong_batch(browser, batch):
    assert trigger(browser, batch=batch)[0] == 422


def test_a_missing_batch_is_asked_for_by_the_name_of_its_field(browser):
    assert (
        trigger(browser, batch=None)[1] == "batch: sim_capture needs the name of a batch, in the API as partition_key"
    )


def test_two_names_of_a_batch_are_refused(browser):
    body = {"logical_date": None, "partition_key": "demo-1", "conf": {"batch": "demo-2"}}
    answer = browser.post("/api/v2/dags/sim_capture/dagRuns", json=body)
    assert answer.json()["detail"] == "batch: 'demo-2' is not the partition key 'demo-1': leave one empty"


def test_a_backfill_is_checked_before_it_makes_a_run(browser):
    dates = {"from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-02T00:00:00Z"}
    for path in ("backfills", "backfills/dry_run"):
        body = {"dag_id": "sim_capture", **dates, "dag_run_conf": {"overrides": ["clean.widht=48"]}}
        answer = browser.post(f"/api/v2/{path}", json=body)
        assert (answer.status_code, "clean.widht: unknown key" in answer.text) == (422, True)


@pytest.mark.parametrize(
    ("dag", "batch", "conf"),
    [
        ("sim_capture", "demo-1", {"preset": "tiny", "overrides": ["capture.episodes=4"]}),
        ("release_model", "demo-1", {"overrides": ["push.ring=stable"]}),
        ("retrain", None, {"reason": "why not", "now": True, "overrides": ["train.epochs=2"]}),
        ("watch_inbox", None, {}),
        ("somebody_elses", None, {"anything": 1}),
    ],
)
def test_what_is_right_or_not_ours_passes(browser, dag, batch, conf):
    status, detail = trigger(browser, dag, batch, **conf)
    assert (status, dag in str(detail)) == (404, True)


def test_what_is_no_json_or_huge_is_airflows_to_answer(browser):
    url = "/api/v2/dags/sim_capture/dagRuns"
    assert browser.post(url, content=b"{").status_code in (400, 404, 422)
    assert browser.post(url, content=b"[" * 100_000).status_code in (400, 404, 422)
    assert browser.post(url, content=b'{"conf": "' + b"x" * (3 << 20) + b'"}').status_code in (400, 404, 413, 422)


@pytest.mark.parametrize("conf", ['{"preset": "\\ud800"}', '{"\\ud800": 1}'])
def test_a_lone_surrogate_is_one_line(browser, conf):
    body = f'{{"logical_date": null, "partition_key": "b-1", "conf": {conf}}}'
    answer = browser.post("/api/v2/dags/sim_capture/dagRuns", content=body.encode())
    assert (answer.status_code, answer.json()["detail"]) == (422, "the request has a character that is not Unicode")


def test_who_is_not_logged_in_learns_nothing(api, browser):
    status, detail = trigger(log_in(api, None), preset="demoo")
    assert status == 401
    assert "demo, tiny" not in detail


def test_a_batch_that_exists_with_other_settings_is_named(browser, s3, partition):
    made = produce(s3, plans.plan(s3, "capture", partition, "demo"), None)
    s3.move_ref(f"refs/batches/{partition}", made.reference)
    status, detail = trigger(browser, batch=partition, overrides=["capture.episodes=4"])
    assert status == 409
    assert f"batch '{partition}' is {made.reference}, made with other settings (episodes 250, now 4)" in detail
    assert trigger(browser, batch=partition, overrides=["capture.episodes=4"], replace=True)[0] == 404
    assert trigger(browser, batch=partition)[0] == 404
    assert trigger(browser, batch=partition, overrides=["clean.width=48"])[0] == 404


@pytest.mark.parametrize(("dag", "status"), [("sim_capture", 409), ("data_cleaning", 409), ("release_model", 404)])
def test_a_withdrawn_batch_is_named_with_the_reason(browser, s3, partition, dag, status):
    record(s3, partition, Event(action="withdraw", reason="wrong labels", by="ana", at=NOW))
    answer = trigger(browser, dag, batch=partition)
    assert answer[0] == status
    assert ("by ana: wrong labels" in answer[1]) == (status == 409)
    record(s3, partition, Event(action="lift", reason="they are right", by="ana", at=NOW))
    assert trigger(browser, dag, batch=partition)[0] == 404


def test_while_s3_does_not_answer_a_request_passes_and_the_first_task_compares(browser, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert trigger(browser)[0] == 404


def test_a_run_with_other_settings_that_is_going_on_is_named(browser, airflow_database):
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        run = DagRun(dag_id="data_cleaning", run_id="r1", run_type="manual", state="running", run_after=NOW)
        run.partition_key, run.conf, run.triggering_user_name = "demo-1", {"preset": "demo"}, "ann"
        session.add(run)
    status, detail = trigger(browser, "data_cleaning", preset="tiny")
    assert status == 409
    assert "data_cleaning of batch 'demo-1' is going on since" in detail
    assert "with other settings (run r1, by ann): wait for its end, or name another batch" in detail
    assert trigger(browser, "data_cleaning", preset="demo")[0] == 404
    assert trigger(browser, "data_cleaning", batch="demo-2", preset="tiny")[0] == 404


@pytest.mark.parametrize("key", [{}, {"partition_key": None}, {"partition_key": ""}])
def test_the_batch_of_the_form_is_the_partition_key_of_the_run(key):
    conf = {"batch": "lab-7", "preset": "demo"}
    sent = json.dumps({"logical_date": None, "conf": conf, **key}).encode()
    scope, passed = forward("/api/v2/dags/sim_capture/dagRuns", sent)
    assert json.loads(passed) == {"logical_date": None, "conf": conf, "partition_key": "lab-7"}
    assert dict(scope["headers"]) == {b"accept": b"*/*", b"content-length": str(len(passed)).encode()}


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/api/v2/dags/sim_capture/dagRuns", b'{"conf": {"batch": "lab-7"}, "partition_key": "lab-7"}'),
        ("/api/v2/dags/sim_capture/dagRuns", b'{"conf": {"batch": ""}}'),
        ("/api/v2/dags/retrain/dagRuns", b'{"conf": {"batch": "lab-7"}}'),
        ("/api/v2/dags/somebody_elses/dagRuns", b'{"conf": {"batch": "lab-7"}}'),
        ("/api/v2/backfills", b'{"dag_id": "sim_capture", "dag_run_conf": {"batch": "lab-7"}}'),
        ("/api/v2/dags/sim_capture/dagRuns", b"{"),
        ("/api/v2/dags/sim_capture/dagRuns", b'{"conf": []}'),
    ],
)
def test_every_other_request_passes_as_it_is(path, sent):
    assert forward(path, sent)[1] == sent


def forward(path, sent):
    """What Airflow would get of a request: its scope and its body."""
    scope = {"path": path, "headers": [(b"accept", b"*/*"), (b"Content-Length", str(len(sent)).encode())]}

    async def receive():
        return {"type": "http.request", "body": sent, "more_body": False}

    there, again = name_partition(scope, receive, sent)
    return there, asyncio.run(again())["body"]


def test_a_backfill_that_names_a_batch_is_told_to_leave_it_empty(browser):
    dates = {"from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-02T00:00:00Z"}
    body = {"dag_id": "sim_capture", **dates, "dag_run_conf": {"batch": "lab-7"}}
    answer = browser.post("/api/v2/backfills", json=body)
    assert (answer.status_code, "batch: leave it empty in a backfill" in answer.text) == (422, True)
