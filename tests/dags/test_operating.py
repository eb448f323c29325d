"""What people and monitoring are told by a running Airflow: failures, late batches, metrics, lineage. Real receivers.

.venvs/airflow/bin/python -m pytest -m slow tests/dags/test_operating.py
"""

import importlib.util
import json
import socket
import sys
import threading
from collections.abc import Iterator

import psutil
import pytest
from airflow_stack import RunningAirflow, running_airflow, wait_for
from receivers import MailServer, Webhook

from sim2edge.bus import Bus
from sim2edge.stack.settings import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DAGS = ("sim_capture", "data_cleaning")
LATE_S = 10
TOKEN = "T0KEN-of-the-channel"


class Operated:
    """The running stack, and everything that listens to it."""

    def __init__(self, airflow: RunningAirflow, webhook: Webhook, lineage: Webhook, mail: MailServer, sent: set[str]):
        self.airflow, self.webhook, self.lineage, self.mail, self.sent = airflow, webhook, lineage, mail, sent

    def told(self, kind: str, dag: str, batch: str) -> dict:
        """The alert, once it came."""
        wanted = {"kind": kind, "dag": dag, "batch": batch}

        def look() -> list[dict]:
            return [body for body in list(self.webhook.bodies) if wanted.items() <= body.items()]

        return wait_for(look, f"the alert {wanted}")[0]


def collect_names(names: set[str]) -> int:
    """Listen to StatsD and note what is sent; returns the port."""
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 0))

    def receive() -> None:
        while True:
            names.update(line.partition(":")[0] for line in sink.recv(65536).decode().splitlines())

    threading.Thread(target=receive, daemon=True).start()
    return sink.getsockname()[1]


@pytest.fixture(scope="module")
def operated(tmp_path_factory) -> Iterator[Operated]:
    names: set[str] = set()
    with Webhook().listening() as webhook, Webhook().listening() as lineage, MailServer().listening() as mail:
        address = lineage.url.partition("/hooks")[0]
        own = {
            "AIRFLOW__SIM2EDGE__ALERT_WEBHOOK": webhook.url,
            "AIRFLOW__SIM2EDGE__ALERT_EMAIL_TO": "ann@example.com",
            "AIRFLOW__SIM2EDGE__LATE_AFTER_HOURS": str(LATE_S / 3600),
            "AIRFLOW_CONN_SMTP_DEFAULT": mail.connection,
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(collect_names(names)),
            "AIRFLOW__OPENLINEAGE__DISABLED": "False",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "http", "url": address, "endpoint": "api/v1/lineage"}
            ),
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        }
        with running_airflow(tmp_path_factory.mktemp("operated"), own, unpaused=DAGS) as airflow:
            yield Operated(airflow, webhook, lineage, mail, names)


def test_a_task_that_fails_is_told_by_webhook_and_mail(operated):
    airflow = operated.airflow
    airflow.behave(capture="bad input")
    run = airflow.trigger("sim_capture", "b-bad")
    assert airflow.ended("sim_capture", run, "capture")["state"] == "failed"
    airflow.behave()
    alert = operated.told("task_failed", "sim_capture", "b-bad")
    assert (alert["task"], alert["attempt"]) == ("capture", 1)
    assert alert["problem"] == "clean.width: input should be greater than 0"
    assert alert["log"].startswith(f"{airflow.url}/dags/sim_capture/runs/")
    assert alert["what_to_do"].startswith("failed without a retry means bad config")
    assert alert["owner"] == "simulation engineering"
    wait_for(lambda: any("sim_capture.capture failed" in mail["Subject"] for mail in operated.mail.mails), "the mail")
    airflow.log("sim_capture", run, "capture", "Alert by webhook: sent")


def test_a_batch_that_is_not_done_in_time_is_told_whatever_started_its_run(operated):
    airflow = operated.airflow
    airflow.behave(clean="hang")
    airflow.trigger("sim_capture", "b-late")
    run = airflow.run("data_cleaning", "b-late")
    assert run.startswith("asset_triggered__")
    airflow.behave(capture="hang", clean="hang")
    by_hand = airflow.trigger("sim_capture", "b-late-2")
    alert = operated.told("batch_late", "data_cleaning", "b-late")
    assert "state running" in alert["problem"]
    assert alert["owner"] == "data engineering"
    operated.told("batch_late", "sim_capture", "b-late-2")
    airflow.mark_failed("sim_capture", by_hand, "capture")
    airflow.mark_failed("data_cleaning", run, "clean")
    airflow.behave()


def test_a_run_that_is_not_late_yet_can_be_cleared(operated):
    airflow = operated.airflow
    airflow.behave(capture="hang")
    run = airflow.trigger("sim_capture", "b-again")
    airflow.hanging_stage()
    airflow.behave()
    airflow.clear("sim_capture", run, "capture")
    ended = airflow.ended("sim_capture", run, "capture")
    assert (ended["state"], ended["try_number"]) == ("success", 2)


def test_a_task_whose_worker_is_killed_again_and_again_is_told_too(operated):
    airflow = operated.airflow
    airflow.behave(capture="hang")
    airflow.trigger("sim_capture", "b-killed")
    for _ in range(3):
        guard = psutil.Process(airflow.hanging_stage()[0]).parent()
        guard.parent().parent().kill()
    airflow.behave()
    alert = operated.told("task_failed", "sim_capture", "b-killed")
    assert (alert["task"], alert["attempt"]) == ("capture", 3)
    assert "its worker was killed" in alert["problem"]


def test_lineage_goes_from_artifact_to_artifact(operated):
    airflow = operated.airflow
    airflow.trigger("sim_capture", "b-line")
    run = airflow.run("data_cleaning", "b-line")
    assert airflow.ended("data_cleaning", run, "clean")["state"] == "success"
    frames = airflow.client.result("data_cleaning", run, "clean")

    def read_and_made() -> list[tuple[list[str], list[str]]]:
        return [
            ([each["name"] for each in event["inputs"]], [each["name"] for each in event["outputs"]])
            for event in list(operated.lineage.bodies)
            if event["eventType"] == "COMPLETE"
            and event["job"]["name"] == "data_cleaning.clean"
            and frames in [each["name"] for each in event["outputs"]]
        ]

    ((read, made),) = wait_for(read_and_made, "the event")
    assert made == [frames]
    (episodes,) = read
    assert episodes.startswith("episodes/b-line/")
    spaces = {each["namespace"] for event in list(operated.lineage.bodies) for each in event["outputs"]}
    assert spaces == {"s3://sim2edge"}
    failed = [event for event in operated.lineage.bodies if event["eventType"] == "FAIL"]
    assert failed
    assert not [event for event in failed if event["outputs"]], "a failed task made nothing"


def test_every_metric_that_the_rules_ask_for_is_sent(operated):
    renew_the_fleet(operated.airflow)
    sys.path.append(str(CHECKOUT / "ci" / "services"))
    spec = importlib.util.spec_from_file_location("metrics", CHECKOUT / "tests" / "compose" / "test_metrics.py")
    metrics = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(metrics)
    mappings = CHECKOUT / "containers" / "statsd" / "mapping.yml"
    from statsd_exporter import read_mappings, translate

    pairs = [translate(name, read_mappings(mappings)) for name in sorted(operated.sent)]
    found = {metric for metric, _ in pairs}
    wanted = {name.removesuffix("_sum").removesuffix("_count") for name in metrics.asked_for()}
    assert wanted <= found
    assert any(metric == "airflow_ti_finish_total" and 'state="failed"' in labels for metric, labels in pairs)


def renew_the_fleet(airflow: RunningAirflow) -> None:
    """Have an update repository, and its metadata renewed."""
    Bus.from_environment().put("ota/metadata/timestamp.json", b"{}")
    airflow.behave(ota="renew")
    airflow.call("PATCH", "dags/refresh_fleet", {"is_paused": False})
    assert airflow.ended("refresh_fleet", airflow.trigger("refresh_fleet"), "refresh")["state"] == "success"


def test_the_address_of_the_webhook_is_in_no_log(operated):
    logs = [path for path in operated.airflow.home.rglob("*.log") if path.is_file()]
    assert logs
    assert not [path for path in logs if TOKEN in path.read_text(errors="replace")]
    rows = (operated.airflow.home / "airflow" / "airflow.db").read_bytes()
    assert TOKEN.encode() not in rows
