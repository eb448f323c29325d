"""What people and monitoring are told by a running Airflow: failures, late batches, metrics, lineage. Real receivers.

.venvs/airflow/bin/python -m pytest -m slow tests/dags/test_operating.py
"""

import importlib.util
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from airflow_stack import RunningAirflow, running_airflow, wait_for
from receivers import MailServer, Webhook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
LATE_S = 10
TOKEN = "T0KEN-of-the-channel"


class Operated:
    """The running stack, and everything that listens to it."""

    def __init__(self, airflow: RunningAirflow, webhook: Webhook, lineage: Webhook, mail: MailServer, sent: set[str]):
        self.airflow, self.webhook, self.lineage, self.mail, self.sent = airflow, webhook, lineage, mail, sent

    def told(self, kind: str, dag: str, batch: str, seconds: float = 60) -> dict:
        """The alert, once it came."""

        def look() -> list[dict]:
            wanted = {"kind": kind, "dag": dag, "batch": batch}
            return [body for body in list(self.webhook.bodies) if wanted.items() <= body.items()]

        return wait_for(look, seconds)[0]


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
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        }
        with running_airflow(tmp_path_factory.mktemp("operated"), own) as airflow:
            yield Operated(airflow, webhook, lineage, mail, names)


def test_a_task_that_fails_is_told_by_webhook_and_mail(operated):
    airflow = operated.airflow
    run = airflow.client.trigger("sim_capture", "b-bad", {"overrides": ["capture.nonsense=1"]})
    assert airflow.ended("sim_capture", run, "capture")["state"] == "failed"
    alert = operated.told("task_failed", "sim_capture", "b-bad")
    assert (alert["task"], alert["attempt"], alert["problem"]) == ("capture", 1, "capture.nonsense: unknown key")
    assert alert["log"].startswith(f"{airflow.url}/dags/sim_capture/runs/")
    assert alert["what_to_do"].startswith("red and not retried is bad config")
    assert alert["owner"] == "whoever owns the simulators"
    wait_for(lambda: any("sim_capture.capture failed" in mail["Subject"] for mail in operated.mail.mails), 20)
    assert "Alert by webhook: sent" in wait_for(lambda: airflow.log("sim_capture", run, "capture"), 20)


def test_a_batch_that_is_not_done_in_time_is_told_whatever_started_its_run(operated):
    airflow = operated.airflow
    airflow.behave(clean="hang")
    airflow.client.trigger("sim_capture", "b-late", {})
    run = airflow.run("data_cleaning", "b-late")
    assert run.startswith("asset_triggered__")
    alert = operated.told("batch_late", "data_cleaning", "b-late", LATE_S + 50)
    assert "it is running" in alert["problem"]
    assert alert["owner"] == "data engineering"
    airflow.behave(capture="hang")
    by_hand = airflow.client.trigger("sim_capture", "b-late-2", {})
    operated.told("batch_late", "sim_capture", "b-late-2", LATE_S + 50)
    airflow.behave()
    airflow.mark_failed("data_cleaning", run, "clean")
    airflow.mark_failed("sim_capture", by_hand, "capture")


def test_a_run_that_is_not_late_yet_can_be_cleared(operated):
    airflow = operated.airflow
    airflow.behave(capture="hang")
    run = airflow.client.trigger("sim_capture", "b-again", {})
    wait_for(lambda: airflow.client.tasks("sim_capture", run)["capture"]["state"] == "running", 60)
    airflow.behave()
    body = {"dry_run": False, "task_ids": ["capture"], "dag_run_id": run, "only_failed": False}
    airflow.call("POST", "dags/sim_capture/clearTaskInstances", body)
    ended = airflow.ended("sim_capture", run, "capture", 90)
    assert (ended["state"], ended["try_number"]) == ("success", 2)


def test_a_task_whose_worker_is_killed_again_and_again_is_told_too(operated):
    airflow = operated.airflow
    airflow.behave(capture="hang")
    airflow.client.trigger("sim_capture", "b-killed", {})
    killed: set[int] = set()
    for _ in range(3):
        killed.add(wait_for(lambda: kill_worker("b-killed", killed), 90))
    airflow.behave()
    alert = operated.told("task_failed", "sim_capture", "b-killed", 90)
    assert (alert["task"], alert["attempt"]) == ("capture", 3)
    assert "its worker was killed" in alert["problem"]


def kill_worker(batch: str, but: set[int]) -> int | None:
    """Kill the worker whose task runs a stage for this batch; its pid, None when there is none."""
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if f"--partition={batch}" in words and "stage_guard" in words:
                worker = process.parent().parent()
                if worker.pid not in but and "LocalExecutor" in " ".join(worker.cmdline()):
                    worker.kill()
                    return worker.pid
        except (psutil.Error, AttributeError):
            continue
    return None


def test_lineage_goes_from_artifact_to_artifact(operated):
    airflow = operated.airflow
    airflow.client.trigger("sim_capture", "b-line", {})
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

    ((read, made),) = wait_for(read_and_made, 30)
    assert made == [frames]
    (episodes,) = read
    assert episodes.startswith("episodes/b-line/")
    spaces = {each["namespace"] for event in list(operated.lineage.bodies) for each in event["outputs"]}
    assert spaces == {"s3://sim2edge"}
    failed = [event for event in operated.lineage.bodies if event["eventType"] == "FAIL"]
    assert failed
    assert not [event for event in failed if event["outputs"]], "a failed task made nothing"


def test_every_metric_that_the_rules_ask_for_is_sent(operated):
    sys.path.append(str(ROOT / "ci" / "services"))
    spec = importlib.util.spec_from_file_location("metrics", ROOT / "tests" / "compose" / "test_metrics.py")
    metrics = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(metrics)
    mappings = ROOT / "containers" / "statsd" / "mapping.yml"
    from statsd_exporter import read_mappings, translate

    pairs = [translate(name, read_mappings(mappings)) for name in sorted(operated.sent)]
    found = {metric for metric, _ in pairs}
    wanted = {name.removesuffix("_sum").removesuffix("_count") for name in metrics.asked_for()}
    assert wanted <= found
    assert any(metric == "airflow_ti_finish_total" and 'state="failed"' in labels for metric, labels in pairs)


def test_the_address_of_the_webhook_is_in_no_log(operated):
    logs = [path for path in operated.airflow.home.rglob("*.log") if path.is_file()]
    assert logs
    assert not [path for path in logs if TOKEN in path.read_text(errors="replace")]
    rows = (operated.airflow.home / "airflow" / "airflow.db").read_bytes()
    assert TOKEN.encode() not in rows
