"""The whole stack: S3, MLflow and Airflow, as `sim2edge up` starts it. Needs both environments; a minute or two."""

import contextlib
import http.client
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import psutil
import pytest
from obstore.store import S3Store

from sim2edge.services.loopback import basic, free_ports
from sim2edge.stack.client import Stack
from sim2edge.stack.lifecycle import Phase
from sim2edge.stack.settings import StackSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, free_range: Callable[[int], int]) -> Iterator[Stack]:
    mlflow_port, airflow_port = free_ports(2)
    home = tmp_path_factory.mktemp("whole")
    settings = StackSettings(
        home=home, s3_port=free_range(10), mlflow_port=mlflow_port, airflow_port=airflow_port, preset="demo"
    )
    stack = Stack(settings)
    stack.start(attached=True)
    yield stack
    stack.stop()


def answer(url: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    try:
        with send(url, headers or {}) as found:
            return found.status, found.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def send(url: str, headers: dict[str, str], body: bytes | None = None) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, body, headers, method="PUT" if body else "GET")  # noqa: S310 - loopback
    found: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=20)  # noqa: S310 - loopback
    return found


def bearer(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.environment()['SIM2EDGE_AIRFLOW_TOKEN']}"}


def test_everything_is_healthy_on_loopback_only(whole: Stack) -> None:
    assert {service.phase for service in whole.services()} == {Phase.HEALTHY, Phase.DONE}
    for service in whole.services():
        process = service.process.find() if service.process else None
        for each in (process, *process.children(recursive=True)) if process else ():
            assert listening(each) <= {"127.0.0.1"}, service.name


def listening(process: psutil.Process) -> set[str]:
    """The addresses that a process listens on; none when it has ended, as a task's may at any moment."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return {each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}
    return set()


@pytest.mark.parametrize("page", ["/", "/api/2.0/mlflow/experiments/get?experiment_id=0", "/version", "/signup"])
def test_mlflow_wants_a_login_on_every_page(whole: Stack, page: str) -> None:
    login = whole.logins()["mlflow"]
    assert answer(login.url + page)[0] == 401
    assert answer(login.url + page, basic(login.user, "wrong" * 5))[0] == 401
    assert answer(login.url + page, basic(login.user, login.password))[0] == 200


def test_mlflow_keeps_artifacts_on_the_s3_server(whole: Stack) -> None:
    login, environment = whole.logins()["mlflow"], whole.environment()
    address = f"{login.url}/api/2.0/mlflow-artifacts/artifacts/1/a.txt"
    with send(address, basic(login.user, login.password), b"content") as found:
        assert found.status == 200
    store = S3Store(
        environment["SIM2EDGE_BUCKET"],
        endpoint=environment["AWS_ENDPOINT_URL"],
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region=environment["AWS_REGION"],
        client_options={"allow_http": True},
    )
    assert obstore.get(store, "mlflow/1/a.txt").bytes() == b"content"


def test_airflow_knows_the_dags_and_wants_a_login(whole: Stack) -> None:
    dags = f"{whole.urls()['airflow']}/api/v2/dags"
    assert answer(dags)[0] == 401
    deadline = time.monotonic() + 60
    names: set[str] = set()
    while "sim_capture" not in names and time.monotonic() < deadline:
        names = {dag["dag_id"] for dag in json.loads(answer(dags, bearer(whole))[1])["dags"]}
        time.sleep(1)
    assert "sim_capture" in names
    errors = json.loads(answer(f"{whole.urls()['airflow']}/api/v2/importErrors", bearer(whole))[1])
    assert errors["import_errors"] == []


def is_back(stack: Stack, name: str) -> bool:
    return any(s.name == name and s.restarts == 1 and s.phase is Phase.HEALTHY for s in stack.services())


def test_a_killed_scheduler_comes_back(whole: Stack) -> None:
    process = next(service.process for service in whole.services() if service.name == "airflow-scheduler")
    assert process
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 90
    while not is_back(whole, "airflow-scheduler"):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_stop_is_quick_and_the_next_start_does_not_migrate(
    whole: Stack, left_behind: Callable[[Path], list[psutil.Process]]
) -> None:
    home = whole.settings.home
    started = [service.process.find() for service in whole.services() if service.process]
    below = [each for process in started if process for each in (process, *process.children(recursive=True))]
    began = time.monotonic()
    whole.stop()
    assert time.monotonic() - began < 20
    assert [process for process in below if process.is_running()] == []
    assert left_behind(home) == []
    whole.start(attached=True)
    assert "airflow-db" not in {service.name for service in whole.services()}
    for log in (home / "logs").iterdir():
        for name, login in whole.logins().items():
            assert login.password not in log.read_text(), (log, name)
