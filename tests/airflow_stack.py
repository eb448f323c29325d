"""A stack of S3 and Airflow with stand-in stages, started for a test module and set up as it wants."""

import contextlib
import json
import os
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sim2edge.demo.airflow_client import AirflowClient
from sim2edge.errors import Unavailable
from sim2edge.secrets_file import format_secrets
from sim2edge.stack.client import Stack
from sim2edge.stack.files import write_private
from sim2edge.stack.ports import free_ports
from sim2edge.stack.settings import CHECKOUT, StackSettings

AIRFLOW_PYTHON = CHECKOUT / ".venvs" / "airflow" / "bin" / "python"
FAKE_STAGE = Path(__file__).parent / "plugins" / "fake_stage.py"
ENDED = ("success", "failed", "skipped", "upstream_failed")


class RunningAirflow:
    """The stack as its users see it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        login = stack.logins()["airflow"]
        self.url = login.url
        self.client = AirflowClient(login.url, login.user, login.password)
        self.folder = folder
        self.home = Path(stack.home)
        self.environment = stack.environment()

    def behave(self, **how: str) -> None:
        """Say how stages behave, see `fake_stage.py`."""
        (self.folder / "behaviours.json").write_text(json.dumps(how))

    def password(self, user: str) -> str:
        return str(json.loads((self.home / "airflow" / "passwords.json").read_text())[user])

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return self.client._call(method, f"/api/v2/{path}", body)

    def run(self, dag: str, batch: str, seconds: float = 60) -> str:
        """The newest run of a DAG for a batch, once there is one."""
        found = wait_for(lambda: [run["dag_run_id"] for run in self.client.runs(dag, batch)][:1], seconds)
        return str(found[0])

    def ended(self, dag: str, run: str, task: str, seconds: float = 60) -> dict[str, Any]:
        """The task instance, once it has ended for good."""

        def look() -> dict[str, Any] | None:
            found = self.client.tasks(dag, run).get(task)
            return found if found and found["state"] in ENDED else None

        return dict(wait_for(look, seconds))

    def mark_failed(self, dag: str, run: str, task: str) -> None:
        path = f"dags/{dag}/dagRuns/{urllib.parse.quote(run, safe='')}/taskInstances/{task}"
        self.call("PATCH", path, {"new_state": "failed"})

    def log(self, dag: str, run: str, task: str, attempt: int = 1) -> str:
        return "\n".join(self.client.log(dag, run, task, attempt))


def wait_for(look: Callable[[], Any], seconds: float) -> Any:
    """What `look` finds, once it finds something; a server too busy to answer is asked again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(Unavailable):
            if found := look():
                return found
        time.sleep(0.3)
    raise AssertionError("it did not come to that in time")


@contextlib.contextmanager
def running_airflow(folder: Path, own: Mapping[str, str]) -> Iterator[RunningAirflow]:
    """Start the stack in `folder` with settings of its own, `AIRFLOW__SECTION__KEY` to value; stop it at the end."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {AIRFLOW_PYTHON} {FAKE_STAGE} "$@"\n')
    python.chmod(0o755)
    os.environ.update(FAKE_STAGE=str(folder / "behaviours.json"), FAKE_PIDS=str(folder / "pids.json"))
    ports = free_ports(2)
    settings = StackSettings(
        home=folder / "stack",
        s3_port=ports[0],
        airflow_port=ports[1],
        airflow_python=AIRFLOW_PYTHON,
        stage_python=python,
        only=("s3", "airflow"),
        preset="demo",
    )
    write_private(settings.home / "airflow-settings.env", format_secrets(own))
    stack = Stack(settings)
    stack.start(attached=True)
    try:
        airflow = RunningAirflow(stack, folder)
        airflow.behave()
        wait_for(
            lambda: len(airflow.call("GET", "dags")["dags"]) >= len(list((CHECKOUT / "dags").glob("*_dag.py"))) - 1, 60
        )
        yield airflow
    finally:
        stack.stop()
