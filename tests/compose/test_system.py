"""The whole system in containers: healthy, closed to whoever has no login, secrets nowhere, and it loses nothing."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sim2edge import inbox
from sim2edge.bus import Bus
from sim2edge.compose.secrets import logins
from sim2edge.fleet import read_device
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.services.role_files import read_variables

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1500)]
ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "containers/grafana/dashboards/sim2edge.json").read_text())
ONCE = {"airflow-init", "camera", "ota-init"}
SMALL = (
    *("capture.episodes=30", "capture.episode_seconds=2"),
    *("clean.max_quarantined_fraction=0.9", "clean.report_frames=4"),
    *("augment.test=0.25", "augment.validation=0.25"),
)
"""Beyond what the preset of the deployment, `tiny`, makes small."""
WHOLE = os.environ.get("WHOLE") == "1"
"""Whether the batch is as large as the demo's, six minutes of it."""
SWEEP_S = 300
"""How often watch_inbox looks at the inbox of its own accord."""
REACH = """
import socket, sys
for host, port in (("postgres", 5432), ("engine-proxy", 2375), ("airflow-api", 8080)):
    try:
        socket.create_connection((host, port), 3)
        sys.exit(host + " answers")
    except OSError:
        pass
socket.create_connection(("s3", 8333), 3)
"""


def bus_of(system, monkeypatch) -> Bus:
    variables = read_variables(system.secrets / "credentials", "admin")
    variables |= {"SIM2EDGE_BUCKET": "sim2edge", "AWS_ENDPOINT_URL": system.url("s3"), "AWS_REGION": "us-east-1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Bus.from_environment()


def wait_for(look: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(1)


def ended(runs: list[dict[str, Any]]) -> bool:
    return bool(runs) and runs[0]["state"] in ("success", "failed")


def has_swept(client: AirflowClient) -> bool:
    """Whether Airflow knows the DAGs of the inbox, and the look at it with which it starts is over."""
    known = {dag["dag_id"] for dag in client._call("GET", "/api/v2/dags?limit=100")["dags"]}
    return {"watch_inbox", "ingest_batch"} <= known and ended(client.latest_runs("watch_inbox"))


def test_everything_is_healthy(system):
    for name, row in system.services().items():
        assert (row["State"], row["Health"]) in {("running", "healthy"), ("running", ""), ("exited", "")}, row
        assert row["ExitCode"] == 0, row
        assert (row["State"] == "exited") == (name in ONCE), row


def test_no_secret_is_shown_by_compose_or_the_engine(system):
    secrets = system.secret_values()
    assert len(secrets) > 25
    shown = [system.docker("compose", "config"), system.docker("inspect", *system.containers())]
    shown += [system.docker("compose", "top"), system.docker("compose", "logs", "--no-color")]
    for text in shown:
        assert not [value for value in secrets if value in text]


def test_ports_are_open_on_loopback_alone(system):
    for container in json.loads(system.docker("inspect", *system.containers())):
        for bindings in (container["NetworkSettings"]["Ports"] or {}).values():
            assert {binding["HostIp"] for binding in bindings or ()} <= {"127.0.0.1"}, container["Name"]


@pytest.mark.parametrize(
    ("service", "paths"),
    [
        ("airflow", ["/", "/api/v2/dags", "/api/v2/connections", "/api/v2/variables", "/ui/config"]),
        ("mlflow", ["/", "/api/2.0/mlflow/experiments/search", "/graphql", "/get-artifact", "/signup"]),
        ("s3", ["/", "/sim2edge", "/sim2edge/refs/models/champion", "/sim2edge?location", "/?Action=ListUsers"]),
        ("prometheus", ["/", "/query", "/metrics", "/api/v1/query?query=up", "/federate", "/-/healthy"]),
        ("alertmanager", ["/", "/api/v2/alerts", "/api/v2/status", "/metrics", "/-/ready"]),
    ],
)
def test_no_page_opens_without_a_login(system, service, paths):
    for path in paths:
        status, body = system.get(service, path)
        if (service, path) == ("airflow", "/"):  # the shell of the page; it asks for the login before it shows anything
            assert status in (200, 302, 307), path
            assert b"sim_capture" not in body
        else:
            assert status in (302, 307, 401, 403, 404, 405), (path, status, body[:200])
            assert status != 404 or service in ("airflow", "mlflow")
    wrong = {"Authorization": "Basic YWRtaW46YWRtaW4="}
    assert system.get(service, paths[-1], wrong)[0] in (302, 307, 400, 401, 403, 404, 405)


def test_every_route_of_airflow_needs_a_login(system):
    routes = json.loads(system.get("airflow", "/openapi.json")[1])["paths"]
    paths = [path for path, methods in routes.items() if "get" in methods]
    assert len(paths) > 50
    answers = {path: system.get("airflow", re.sub(r"\{[^}]+\}", "1", path))[0] for path in paths}
    public = {path for path, status in answers.items() if status not in (401, 403)}
    assert public <= {"/api/v2/monitor/health", "/api/v2/version", "/api/v2/auth/login", "/api/v2/auth/logout"}


@pytest.mark.parametrize("service", ["prometheus", "alertmanager", "mlflow"])
def test_the_login_opens(system, service):
    assert system.get(service, "/", system.login(service))[0] in (200, 302)


def test_stages_cannot_reach_the_database_or_the_engine(system):
    image = f"sim2edge/push:{system.settings.get('SIM2EDGE_TAG') or '0.1.0'}"
    command = ["run", "--rm", "--network", f"{system.name}-stages", "--entrypoint", "python", image, "-c", REACH]
    system.docker(*command)


def test_prometheus_reaches_every_service(system):
    status, body = system.get("prometheus", "/api/v1/targets", system.login("prometheus"))
    assert status == 200
    targets = json.loads(body)["data"]["activeTargets"]
    assert {target["labels"]["job"] for target in targets} == {
        "devices",
        "airflow",
        "services",
        "prometheus",
        "alertmanager",
    }
    for target in targets:
        if target["labels"]["job"] != "devices":  # they have no detector before their first release
            assert target["health"] in ("up", "unknown"), target["lastError"]


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_every_panel_asks_what_prometheus_understands(system, panel):
    for target in panel["targets"]:
        query = urllib.parse.urlencode({"query": target["expr"]})
        status, body = system.get("prometheus", f"/api/v1/query?{query}", system.login("prometheus"))
        assert status == 200, body


def test_the_rules_hold_what_they_promise(system):
    mount = f"{ROOT}/containers/prometheus:/etc/sim2edge:ro"
    image = json.loads(system.docker("compose", "config", "--format", "json"))["services"]["prometheus"]["image"]
    tool = ["run", "--rm", "--network", "none", "--volume", mount, "--entrypoint", "promtool", image]
    assert "SUCCESS" in system.docker(*tool, "test", "rules", "/etc/sim2edge/rules_test.yml")
    rules = yaml.safe_load((ROOT / "containers/prometheus/rules.yml").read_text())
    tested = (ROOT / "containers/prometheus/rules_test.yml").read_text()
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert f"alertname: {rule['alert']}" in tested, "an alert without a test"


def test_a_batch_in_the_inbox_wakes_airflow(system, monkeypatch, tmp_path):
    bus, client = bus_of(system, monkeypatch), AirflowClient(system.url("airflow"), *logins(system.secrets)["airflow"])
    wait_for(lambda: has_swept(client), SWEEP_S + 60)
    if (left_s := SWEEP_S - time.time() % SWEEP_S) < 30:
        time.sleep(left_s + 10)  # the sweep would find it first
    (tmp_path / "a.mcap").write_bytes(b"not a log: the run goes no further than ingest")
    inbox.deliver(bus, "farm-1", tmp_path, [inbox.describe(tmp_path, "a.mcap")])

    wait_for(lambda: ended(client.runs("ingest_batch", "farm-1")), 180)
    registering = urllib.parse.quote(json.loads(bus.get("registered/farm-1.json"))["run"], safe="")
    path = f"/api/v2/dags/watch_inbox/dagRuns/{registering}/upstreamAssetEvents"
    extras = [event["extra"] for event in client._call("GET", path)["asset_events"]]
    assert {"look": "arrivals", "count": 1, "some": ["farm-1"]} in [extra.get("payload", extra) for extra in extras]


def test_one_batch_reaches_the_canary(system, tmp_path):
    words = [word for override in (() if WHOLE else SMALL) for word in ("--set", override)]
    report = tmp_path / "report.json"
    ended = system.sim2edge("batch", "--batch", "demo-1", *words, "--report", str(report), timeout_s=1200)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr
    found = json.loads(report.read_text())
    assert [stage["state"] for stage in found["stages"]] == ["success"] * 7
    assert found["device"]["device"] == "device-1"
    left = system.docker("ps", "--all", "--quiet", "--filter", f"label=sim2edge.deployment={system.name}")
    assert left == "", "stages leave no container"


def test_the_logs_of_its_tasks_are_on_the_bucket(system, monkeypatch):
    bus = bus_of(system, monkeypatch)
    client = AirflowClient(system.url("airflow"), *logins(system.secrets)["airflow"])
    run = urllib.parse.quote(client.runs("data_cleaning", "demo-1")[0]["dag_run_id"])
    found = client._call("GET", f"/api/v2/dags/data_cleaning/dagRuns/{run}/taskInstances/clean/logs/1")
    lines = [line if isinstance(line, str) else line["event"] for line in found["content"]]
    assert any("s3://sim2edge/logs/dag_id=data_cleaning/" in line for line in lines), "read from the bucket"
    assert any("frames/demo-1/" in line for line in lines)
    assert any("task_id=clean" in key for key in bus.list("logs/dag_id=data_cleaning/"))


def test_processes_make_the_same_bytes_as_containers(system, monkeypatch):
    bus = bus_of(system, monkeypatch)
    for reference in sorted(bus.artifacts()):
        if bus.find(reference):
            command = [sys.executable, "-m", "sim2edge", "reproduce", reference]
            ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr
            assert WHOLE or "compared byte by byte: " in ended.stdout


def test_nothing_is_lost_by_down_and_up(system, monkeypatch):
    bus = bus_of(system, monkeypatch)
    bus.put("inbox/kept/READY.json", b"{}")
    root = bus.get("ota/metadata/1.root.json")
    client = AirflowClient(system.url("airflow"), *logins(system.secrets)["airflow"])
    runs = client.runs("sim_capture", "demo-1")
    headers = {"Content-Type": "application/json", **system.login("mlflow")}
    assert system.get("mlflow", "/api/2.0/mlflow/experiments/create", headers, b'{"name": "kept"}')[0] == 200
    device = read_device(bus, "device-1")

    ended = system.sim2edge("down")
    assert ended.returncode == 0, ended.stderr
    assert system.containers() == []
    make_again = system.secret_values()
    system.up()

    assert system.secret_values() == make_again
    assert bus.get("inbox/kept/READY.json") == b"{}"
    assert bus.get("ota/metadata/1.root.json") == root
    client = AirflowClient(system.url("airflow"), *logins(system.secrets)["airflow"])
    assert [run["dag_run_id"] for run in client.runs("sim_capture", "demo-1")] == [run["dag_run_id"] for run in runs]
    path = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=kept"
    assert system.get("mlflow", path, system.login("mlflow"))[0] == 200
    again = read_device(bus, "device-1")
    assert again.release == device.release
    for row in system.services().values():
        assert row["Health"] in ("healthy", "")


def test_what_is_missing_is_said_in_one_line(system, tmp_path):
    cases = {
        "SIM2EDGE_SECRETS": (str(tmp_path / "none"), "`make secrets` (sim2edge compose init) creates the secrets"),
        "SIM2EDGE_TAG": ("9.9.9", "`make images` builds them"),
        "DOCKER_HOST": ("unix:///nowhere.sock", "the Docker engine does not answer"),
        "DOCKER": ("no-such-docker", "is not installed"),
    }
    for variable, (value, complaint) in cases.items():
        command = [sys.executable, "-m", "sim2edge", "compose", "check"]
        environment = {**system.settings, variable: value}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode in (2, 75), variable
        assert complaint in ended.stderr, ended.stderr
        assert ended.stderr.count("\n") == 1, ended.stderr
