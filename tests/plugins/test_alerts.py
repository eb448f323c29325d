"""A failure reaches people with what they need; a receiver that is down, slow or broken never makes the task worse."""

import asyncio
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.log import mask_secret
from receivers import MailServer, Webhook, serving, silent_port

from sim2edge.services.loopback import free_ports
from sim2edge_airflow.alerts import channels as alert_channels
from sim2edge_airflow.alerts.report import KILLED, MAX_CHARACTERS, describe_failure, report_failure, report_late

RUNBOOK = """
### data_cleaning: a batch's episodes become frames

**Starts** by itself.

**When it fails**: red is bad data:
capture the batch again.

Owner: data engineering.
"""
ARTIFACT = "frames/b1/0123456789abcdef"
ERROR = AirflowFailException("episode 7: no camera topic")
TOKEN = "T0KEN-of-the-channel"


def failed(error=ERROR, **task):
    """The context of a failure callback, as far as it is used."""
    operator = {
        "owner": "data engineering",
        "artifact": ARTIFACT,
        "inputs": {"episodes": ["episodes/b1/00000000000000aa"]},
    }
    return {
        "ti": SimpleNamespace(
            dag_id="data_cleaning",
            task_id="clean",
            run_id="r 1",
            map_index=-1,
            try_number=3,
            log_url="http://airflow/dags/data_cleaning/runs/r%201/tasks/clean?try_number=3",
        ),
        "task": SimpleNamespace(**operator | task, dag=SimpleNamespace(doc_md=RUNBOOK)),
        "dag_run": SimpleNamespace(partition_key="b1"),
        "exception": error,
    }


def late(run_type="asset_triggered"):
    run = {
        "dag_id": "data_cleaning",
        "dag_run_id": "r1",
        "partition_key": "b1",
        "queued_at": "2026-01-01T00:00:00Z",
        "state": "running",
        "run_type": run_type,
    }
    return {"dag_run": run, "deadline": {"id": "1", "deadline_time": "2026-01-01T12:00:00Z"}}


@pytest.fixture(autouse=True)
def where_people_reach_airflow(monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow/")


@pytest.fixture
def configured(monkeypatch):
    """Name the receivers, as a deployment does."""

    def configure(webhook="", mail_to="", connection=None):
        monkeypatch.setenv("AIRFLOW__SIM2EDGE__ALERT_WEBHOOK", webhook)
        monkeypatch.setenv("AIRFLOW__SIM2EDGE__ALERT_EMAIL_TO", mail_to)
        if connection:
            monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection)

    monkeypatch.setattr(alert_channels, "PAUSE_S", 0.05)
    return configure


def test_an_alert_says_what_failed_where_to_look_and_what_to_do():
    alert = describe_failure(failed())
    assert alert.text.splitlines() == [
        "data_cleaning.clean failed, batch b1",
        "Problem: episode 7: no camera topic",
        "Log: http://airflow/dags/data_cleaning/runs/r%201/tasks/clean?try_number=3",
        f"Artifact: http://airflow/sim2edge/artifacts/{ARTIFACT}",
        "Made from: episodes/b1/00000000000000aa",
        "What to do: red is bad data: capture the batch again.",
        "Owner: data engineering",
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, KILLED),
        (ValueError(), "ValueError"),
        (RuntimeError("first\n  second"), "first second"),
        (RuntimeError("x" * 9000), "x" * MAX_CHARACTERS + " ..."),
        ("plain words", "plain words"),
    ],
)
def test_a_problem_is_one_line_of_reasonable_length(error, said):
    assert describe_failure(failed(error)).problem == said


def test_a_secret_in_an_error_is_not_told():
    mask_secret("hunter2-hunter2")
    assert describe_failure(failed(RuntimeError("login hunter2-hunter2 refused"))).problem == "login *** refused"


def test_a_task_that_is_no_stage_or_did_not_get_far_has_no_artifact():
    alert = describe_failure(failed(artifact=None, inputs={"episodes": ["refs/batches/b1"]}))
    assert (alert.artifact, alert.inputs) == (None, {})
    del (context := failed())["dag_run"]
    assert describe_failure(context).title == "data_cleaning.clean failed"


def test_a_webhook_gets_the_alert_as_text_and_as_fields(configured, caplog):
    caplog.set_level("INFO")
    with Webhook().listening() as receiver:
        configured(receiver.url)
        report_failure(failed())
    (body,) = receiver.bodies
    assert body["text"].startswith("data_cleaning.clean failed, batch b1\n")
    told = {name: body[name] for name in ("kind", "dag", "task", "batch", "attempt", "owner")}
    assert told == {
        "kind": "task_failed",
        "dag": "data_cleaning",
        "task": "clean",
        "batch": "b1",
        "attempt": 3,
        "owner": "data engineering",
    }
    assert caplog.messages == ["Alert by webhook: sent"]


def test_people_get_the_alert_by_mail(configured, caplog):
    caplog.set_level("INFO", "sim2edge_airflow.alerts.channels")
    with MailServer().listening() as server:
        configured(mail_to="ann@example.com, bob@example.com", connection=server.connection)
        report_failure(failed(RuntimeError("<b>bold</b>")))
    assert server.receivers == ["ann@example.com", "bob@example.com"]
    (mail,) = server.mails
    assert mail["Subject"] == "[sim2edge] data_cleaning.clean failed, batch b1"
    assert mail["From"] == "sim2edge@example.com"
    text = next(mail.walk()).get_payload(0).get_content()
    assert "What to do: red is bad data" in text
    assert "&lt;b&gt;bold" in text
    assert "Alert by e-mail: sent" in caplog.messages


@pytest.mark.parametrize(
    ("answers", "sent", "said"), [((500, 200), 2, "sent"), ((503,), 2, "HTTP 503"), ((404,), 1, "404")]
)
def test_a_webhook_that_is_at_fault_is_asked_twice_one_that_refuses_once(configured, caplog, answers, sent, said):
    caplog.set_level("INFO")
    with Webhook(*answers).listening() as receiver:
        configured(receiver.url)
        report_failure(failed())
    assert len(receiver.bodies) == sent
    assert said in caplog.messages[-1]
    assert TOKEN not in caplog.text


class LoginWall(BaseHTTPRequestHandler):
    """Sends whoever posts to a page that is there for everybody."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(302)
        self.send_header("Location", "/login")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.server.visited.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_webhook_that_sends_us_elsewhere_has_not_taken_the_alert_and_is_not_followed(configured, caplog):
    caplog.set_level("INFO")
    server = ThreadingHTTPServer(("127.0.0.1", 0), LoginWall)
    server.visited = []
    with contextmanager(serving)(server, server):
        configured(f"http://127.0.0.1:{server.server_port}/{TOKEN}")
        report_failure(failed())
    assert caplog.messages == ["Alert by webhook: not sent: HTTP 302"]
    assert server.visited == []


def test_a_webhook_that_cannot_be_told_does_not_keep_the_mail_back(configured, caplog, monkeypatch):
    caplog.set_level("INFO", "sim2edge_airflow.alerts.channels")
    with MailServer().listening() as server:
        configured(mail_to="ann@example.com", connection=server.connection)
        monkeypatch.delenv("AIRFLOW__SIM2EDGE__ALERT_WEBHOOK")
        monkeypatch.setenv("AIRFLOW__SIM2EDGE__ALERT_WEBHOOK_CMD", f"sh -c 'echo {TOKEN}; exit 1'")
        report_failure(failed())
    assert server.receivers == ["ann@example.com"]
    alerts = [record.getMessage() for record in caplog.records if record.name == "sim2edge_airflow.alerts.channels"]
    assert alerts == ["Alert: [sim2edge] alert_webhook cannot be read: AirflowConfigException", "Alert by e-mail: sent"]
    assert TOKEN not in caplog.text


def test_a_batch_with_a_name_that_nobody_may_give_writes_no_header_of_the_mail(configured):
    context = failed()
    context["dag_run"].partition_key = "b1\r\nBcc: eve@example.com\r\n\r\nhello"
    with MailServer().listening() as server:
        configured(mail_to="ann@example.com", connection=server.connection)
        report_failure(context)
    (mail,) = server.mails
    assert (server.receivers, mail["Bcc"]) == (["ann@example.com"], None)
    assert mail["Subject"].startswith(r"[sim2edge] data_cleaning.clean failed, batch b1\r\nBcc: eve@example.com")


def test_receivers_that_are_down_or_wrong_cost_a_line_each(configured, caplog):
    (port,) = free_ports(1)
    configured(
        f"http://127.0.0.1:{port}/{TOKEN}",
        "ann@example.com",
        json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": port}),
    )
    report_failure(failed())
    configured(f"file:///etc/{TOKEN}", "ann@example.com")
    with MailServer(refuse=True).listening() as server:
        configured("nonsense", "ann@example.com", server.connection)
        report_failure(failed())
    alerts = [record.getMessage() for record in caplog.records if record.name == "sim2edge_airflow.alerts.channels"]
    assert sorted(alerts) == [
        "Alert by e-mail: not sent: ConnectionRefusedError Connection refused",
        "Alert by e-mail: not sent: SMTPRecipientsRefused",
        "Alert by webhook: not sent: ConnectionRefusedError Connection refused",
        "Alert by webhook: not sent: ValueError",
    ]
    assert TOKEN not in caplog.text


def test_receivers_that_never_answer_are_given_up_together(configured, caplog, monkeypatch):
    monkeypatch.setattr(alert_channels, "DEADLINE_S", 1.0)
    connection = (
        '{"conn_type": "smtp", "host": "127.0.0.1", "port": %d, "extra": {"disable_ssl": true, "timeout": 900}}'
    )
    with silent_port() as port:
        configured(f"http://127.0.0.1:{port}/{TOKEN}", "ann@example.com", connection % port)
        start = time.monotonic()
        report_failure(failed())
        assert time.monotonic() - start < 2
    for carrier in threading.enumerate():
        if carrier.name in ("webhook", "e-mail"):
            carrier.join(10)
    assert [line for line in caplog.messages if "given up after 1 s" in line] == [
        "Alert by webhook: given up after 1 s",
        "Alert by e-mail: given up after 1 s",
    ]


def test_nothing_that_is_wrong_with_the_context_reaches_the_task(configured, caplog):
    report_failure({})
    assert caplog.messages == ["The alert could not be created: KeyError"]


def test_nothing_is_sent_where_nobody_is_named(configured, caplog):
    configured()
    caplog.set_level("INFO")
    report_failure(failed())
    assert caplog.messages == []


def test_the_webhook_may_come_from_a_command_and_airflow_hides_it(monkeypatch):
    from airflow.sdk.configuration import conf

    monkeypatch.delenv("AIRFLOW__SIM2EDGE__ALERT_WEBHOOK", raising=False)
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__ALERT_WEBHOOK_CMD", f"echo https://example.com/{TOKEN}")
    assert conf.get(*alert_channels.WEBHOOK).strip() == f"https://example.com/{TOKEN}"
    assert conf.as_dict(display_sensitive=False)["sim2edge"]["alert_webhook"] == "< hidden >"


def test_a_late_batch_is_told_but_not_one_of_a_backfill(configured):
    with Webhook().listening() as receiver:
        configured(receiver.url)
        asyncio.run(report_late(late(), owner="data engineering", when_it_fails="capture it again"))
        asyncio.run(report_late(late("backfill"), owner="", when_it_fails=""))
        asyncio.run(report_late({}, owner="", when_it_fails=""))
    (body,) = receiver.bodies
    assert (body["kind"], body["dag"], body["batch"]) == ("batch_late", "data_cleaning", "b1")
    assert body["problem"] == "queued 2026-01-01T00:00:00Z, not done by 2026-01-01T12:00:00Z: state running"
    assert body["log"] == "http://airflow/dags/data_cleaning/runs/r1"
    assert "if one failed: capture it again" in body["what_to_do"]
