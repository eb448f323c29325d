"""Batches dropped into the inbox under Airflow's own scheduler, with a real S3 server; the stages are stand-ins.

    .venvs/airflow/bin/python -m pytest -m slow tests/dags/test_inbox_scheduler.py --capture=no

Each test has a stack of its own and takes some minutes; it prints how long it took to the last start.
"""

import collections
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sim2edge import inbox
from sim2edge.bus import Bus, in_threads
from sim2edge.demo.airflow_client import AirflowClient
from sim2edge.stack.client import Stack
from sim2edge.stack.credentials import load_credentials
from sim2edge.stack.ports import free_ports
from sim2edge.stack.settings import StackSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FAKE_STAGE = Path(__file__).parents[1] / "plugins" / "fake_stage.py"
BATCHES = 50


@contextmanager
def running(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Iterator[tuple[Stack, AirflowClient]]:
    """A stack whose stages are stand-ins; what follows the ingest is paused, for it is not looked at here."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE_STAGE} "$@"\n')
    python.chmod(0o755)
    (folder / "behaviours.json").write_text("{}")
    monkeypatch.setenv("FAKE_STAGE", str(folder / "behaviours.json"))
    s3_port, airflow_port = free_ports(2)
    stack = Stack(
        StackSettings(
            home=folder / "stack",
            s3_port=s3_port,
            airflow_port=airflow_port,
            airflow_python=Path(sys.executable),
            stage_python=python,
            only=("s3", "airflow"),
            preset="demo",
            **settings,
        )
    )
    stack.start(attached=True)
    try:
        for name, value in stack.environment().items():
            monkeypatch.setenv(name, value)
        login = stack.logins()["airflow"]
        client = AirflowClient(login.url, login.user, login.password)
        wait_for(lambda: {"watch_inbox", "ingest_batch", "data_cleaning"} <= dags(client), 60)
        client._call("PATCH", "/api/v2/dags/data_cleaning", {"is_paused": True})
        yield stack, client
    finally:
        stack.stop()


def dags(client: AirflowClient) -> set[str]:
    return {dag["dag_id"] for dag in client._call("GET", "/api/v2/dags?limit=100")["dags"]}


def wait_for(look: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.5)
    return found


def drop(bus: Bus, folder: Path, names: list[str]) -> None:
    (folder / "a.mcap").write_bytes(b"a log")
    file = inbox.describe(folder, "a.mcap")
    in_threads(lambda name: inbox.deliver(bus, name, folder, [file]), names)


def triggerer(stack: Stack) -> psutil.Process | None:
    (service,) = (each for each in stack.services() if each.name == "airflow-triggerer")
    return service.process.find() if service.process else None


def kill(process: psutil.Process) -> None:
    for each in (*process.children(recursive=True), process):
        each.kill()


def drop_while_the_triggerer_is_killed(stack: Stack, bus: Bus, folder: Path, names: list[str]) -> float:
    """Killed in the middle of the drop, and again as soon as the supervisor has started another; seconds it took."""
    began = time.monotonic()
    first = wait_for(lambda: triggerer(stack), 30)
    drop(bus, folder, names[: len(names) // 2])
    kill(first)
    drop(bus, folder, names[len(names) // 2 :])
    dropped = time.monotonic() - began
    kill(wait_for(lambda: (found := triggerer(stack)) and found.pid != first.pid and found, 30))
    return dropped


def runs(client: AirflowClient, dag: str) -> list[dict[str, Any]]:
    return list(client._call("GET", f"/api/v2/dags/{dag}/dagRuns?limit=100&order_by=id")["dag_runs"])


def deliveries(client: AirflowClient) -> list[str]:
    events = client._call("GET", "/api/v2/assets/events?limit=100&name_pattern=delivery")["asset_events"]
    return [event["partition_key"] for event in events if event["name"] == "delivery"]


def check_each_ran_once(client: AirflowClient, bus: Bus, names: list[str]) -> list[dict[str, Any]]:
    """Wait until all have ended, and some time for what must not come."""
    found = wait_for(
        lambda: (all_runs := runs(client, "ingest_batch"))
        and len(all_runs) >= len(names)
        and all(run["state"] in ("success", "failed") for run in all_runs)
        and all_runs,
        300,
    )
    time.sleep(3)
    assert collections.Counter(run["partition_key"] for run in runs(client, "ingest_batch")) == dict.fromkeys(names, 1)
    assert {run["state"] for run in found} == {"success"}
    assert sorted(deliveries(client)) == sorted(names)
    claims = [json.loads(bus.get(f"registered/{name}.json")) for name in names]
    assert {claim["run"] for claim in claims} <= {run["dag_run_id"] for run in runs(client, "watch_inbox")}
    return found


def tell(route: str, dropped: float, began: float, found: list[dict[str, Any]], client: AirflowClient) -> None:
    def seconds(field: str) -> float:
        return max(datetime.fromisoformat(run[field]).timestamp() for run in found) - began

    looks = len(runs(client, "watch_inbox"))
    print(
        f"\n{route}: {len(found)} batches dropped in {dropped:.1f} s; seconds from the first drop: "
        f"last run created {seconds('queued_at'):.1f}, last started {seconds('start_date'):.1f}, "
        f"last ended {seconds('end_date'):.1f}; {looks} runs of watch_inbox"
    )


def test_fifty_batches_while_the_triggerer_is_killed_twice(tmp_path, monkeypatch):
    names = [f"farm-{number:02d}" for number in range(BATCHES)]
    with running(tmp_path, monkeypatch) as (stack, client):
        bus = Bus.from_environment()
        began = time.time()
        dropped = drop_while_the_triggerer_is_killed(stack, bus, tmp_path, names)
        bus.put("inbox/%2e%2e/READY.json", b"{}")
        bus.put("inbox/late-1/a.mcap", b"a log")
        found = check_each_ran_once(client, bus, names)
        tell("polling, triggerer killed twice", dropped, began, found, client)
        assert dropped < 5


def test_fifty_batches_by_the_webhook_of_the_server_with_no_triggerer_to_help(tmp_path, monkeypatch):
    names = [f"farm-{number:02d}" for number in range(BATCHES)]
    with running(tmp_path, monkeypatch, inbox_webhook=True) as (stack, client):
        bus = Bus.from_environment()
        began = time.time()
        dropped = drop_while_the_triggerer_is_killed(stack, bus, tmp_path, names)
        found = check_each_ran_once(client, bus, names)
        tell("webhook of SeaweedFS, triggerer killed twice", dropped, began, found, client)
        assert dropped < 5
        check_the_door(stack, bus, client)


def check_the_door(stack: Stack, bus: Bus, client: AirflowClient) -> None:
    """The real API server's webhook opens to the token alone, and a lie costs no more than a look."""
    url, token = stack.settings.inbox_url, load_credentials(stack.settings.home).inbox_token
    lie = {"event_type": "create", "key": f"/buckets/{stack.settings.bucket}/inbox/nothing-1/READY.json"}
    assert httpx.post(url, json=lie).status_code == 401
    assert httpx.post(url, json=lie, headers={"Authorization": f"Bearer {client._token}"}).status_code == 401
    assert httpx.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 405
    before = len(runs(client, "watch_inbox"))
    answer = httpx.post(url, json=lie, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()) == (200, {"arrived": 1})
    wait_for(lambda: len(runs(client, "watch_inbox")) > before, 60)
    assert "nothing-1" not in deliveries(client)
