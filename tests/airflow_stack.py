"""A stack of S3 and Airflow with stand-in stages, started for a test module and set up as it wants.

    with running_airflow(folder, {"AIRFLOW__SIM2EDGE__POOL_CAPTURE": "4"}, unpaused=("sim_capture",)) as airflow:
        airflow.behave(capture="crash")
        run = airflow.trigger("sim_capture", "b1", preset="demo")
        assert airflow.ended("sim_capture", run, "capture")["state"] == "failed"

Each has folders and ports of its own, so several run side by side. What is waited for has `PATIENCE_S` to come: a wait
that ends well takes no longer for it, and machines are busy.
"""

import contextlib
import json
import os
import urllib.error
import urllib.parse
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from benchmarks.postgres_stack import PATIENCE_S, PostgresStack, open_stack, wait_for
from port_range import first_free

from sim2edge.errors import Unavailable
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.private_files import write_private
from sim2edge.secrets_file import format_secrets
from sim2edge.services.loopback import free_ports
from sim2edge.services.role_files import USER
from sim2edge.stack.client import Stack
from sim2edge.stack.credentials import load_credentials
from sim2edge.stack.settings import CHECKOUT, StackSettings

AIRFLOW_PYTHON = CHECKOUT / ".venvs" / "airflow" / "bin" / "python"
FAKE_STAGE = Path(__file__).parent / "plugins" / "fake_stage.py"
ALWAYS = {file.stem.removesuffix("_dag") for file in (CHECKOUT / "dags").glob("*_dag.py")} - {"reap_containers"}
"""The DAGs that there are in every deployment, also where stages run as processes."""
TASK_ENDED = ("success", "failed", "skipped", "upstream_failed")
RUN_ENDED = ("success", "failed")
TRIES = 5
"""How often a server that is too busy to answer is asked what can be asked again."""


class PatientClient(AirflowClient):
    """Asks again where no answer came; what makes something new (POST) is asked once."""

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        for _ in range(TRIES - 1 if method != "POST" else 0):
            try:
                return super()._ask(method, path, body)
            except Unavailable as error:
                if isinstance(error.__cause__, urllib.error.HTTPError):
                    raise
        return super()._ask(method, path, body)


class RunningAirflow:
    """A running stack, as who uses it sees it."""

    def __init__(self, stack: Stack | PostgresStack, folder: Path) -> None:
        self.stack, self.folder, self.home = stack, folder, stack.settings.home
        self.url = stack.settings.airflow_url
        self.client = PatientClient(self.url, USER, load_credentials(self.home).airflow_password)

    def behave(self, **how: str) -> None:
        """Say how stages behave from now on, see `fake_stage.py`."""
        (self.folder / "pids.json").unlink(missing_ok=True)  # of one that has been hanging since before
        write_private(self.folder / "behaviours.json", json.dumps(how))

    def hanging_stage(self) -> list[int]:
        """The processes of the next stage that hangs, once it does."""
        path = self.folder / "pids.json"
        wait_for(path.exists, "a stage that hangs")
        pids: list[int] = json.loads(path.read_text())["pids"]
        path.unlink()
        return pids

    def password(self, user: str) -> str:
        return str(json.loads((self.home / "airflow" / "passwords.json").read_text())[user])

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return self.client._call(method, f"/api/v2/{path}", body)

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A request whose answer may be a refusal."""
        headers = {"Authorization": f"Bearer {self.client._token}"}
        return httpx.request(method, f"{self.url}/{path}", json=body, headers=headers, timeout=PATIENCE_S)

    def page(self, path: str, *words: str) -> str:
        """One of our pages, once it shows these words: what it knows may be some seconds old."""

        def look() -> str | None:
            answer = self.ask("GET", f"sim2edge/{path}")
            assert answer.status_code == 200, answer.text[-500:]
            return answer.text if all(word in answer.text for word in words) else None

        return str(wait_for(look, f"a page {path} with {', '.join(words)}"))

    def trigger(self, dag: str, batch: str | None = None, **conf: Any) -> str:
        """Start a run by hand; its id."""
        body = {"logical_date": None, "partition_key": batch, "conf": conf}
        return str(self.call("POST", f"dags/{dag}/dagRuns", body)["dag_run_id"])

    def dags(self) -> set[str]:
        return {dag["dag_id"] for dag in self.call("GET", "dags?limit=100")["dags"]}

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """The runs of a DAG, oldest first."""
        return list(self.call("GET", f"dags/{dag}/dagRuns?limit=100&order_by=run_after")["dag_runs"])

    def run(self, dag: str, batch: str) -> str:
        """The newest run of a DAG for a batch, once there is one."""
        found = wait_for(lambda: self.client.runs(dag, batch)[:1], f"a run of {dag} for {batch}")
        return str(found[0]["dag_run_id"])

    def new_run(self, dag: str, known: list[dict[str, Any]]) -> dict[str, Any]:
        """The first run of a DAG that is not one of those known."""
        ids = {run["dag_run_id"] for run in known}
        found = wait_for(lambda: [run for run in self.runs(dag) if run["dag_run_id"] not in ids], f"a new run of {dag}")
        return dict(found[0])

    def run_ended(self, dag: str, run: str) -> dict[str, Any]:
        """The run, once it has ended: some moments after its last task."""

        def look() -> dict[str, Any] | None:
            found = self.call("GET", f"dags/{dag}/dagRuns/{quote(run)}")
            return found if found["state"] in RUN_ENDED else None

        return dict(wait_for(look, f"the end of run {run} of {dag}"))

    def task(self, dag: str, run: str, task: str) -> dict[str, Any]:
        return self.client.tasks(dag, run)[task]

    def comes_to(self, dag: str, run: str, task: str, *states: str) -> dict[str, Any]:
        """The task instance, once it is in one of these states."""

        def look() -> dict[str, Any] | None:
            found = self.task(dag, run, task)
            return found if found["state"] in states else None

        return dict(wait_for(look, f"{' or '.join(states)} of {dag}.{task} in {run}"))

    def ended(self, dag: str, run: str, task: str) -> dict[str, Any]:
        """The task instance, once it has ended for good."""
        return self.comes_to(dag, run, task, *TASK_ENDED)

    def outcome(self, dag: str, run: str, task: str) -> str:
        """What a task that has ended says of its stage: `made`, `cached: ...`; Airflow notes it after the state."""

        def look() -> str | None:
            return (self.task(dag, run, task)["rendered_fields"] or {}).get("outcome")

        return str(wait_for(look, f"the outcome of {dag}.{task} in {run}"))

    def mark_failed(self, dag: str, run: str, task: str) -> None:
        self.call("PATCH", f"dags/{dag}/dagRuns/{quote(run)}/taskInstances/{task}", {"new_state": "failed"})

    def clear(self, dag: str, run: str, task: str) -> None:
        """Have a task done again; not while its run is about to end, for then Airflow lets it end without."""
        body = {"dry_run": False, "task_ids": [task], "dag_run_id": run, "only_failed": False}
        self.call("POST", f"dags/{dag}/clearTaskInstances", body)

    def log(self, dag: str, run: str, task: str, words: str = "", attempt: int = 1) -> str:
        """The log of one try of a task, once it has these words."""

        def look() -> str | None:
            text = "\n".join(self.client.log(dag, run, task, attempt))
            return text if words in text else None

        return str(wait_for(look, f"'{words}' in the log of {dag}.{task} in {run}"))

    def backfill(self, first: str, last: str, path: str = "backfills", **more: Any) -> dict[str, Any]:
        """Backfill days of `sim_capture`, once no other backfill is under way: there may be one."""
        self.finish_backfills()
        dates = {"from_date": f"{first}T00:00:00Z", "to_date": f"{last}T00:00:00Z"}
        return self.call("POST", path, {"dag_id": "sim_capture", "run_backwards": False, **dates, **more})

    def finish_backfills(self) -> None:
        """Wait until no backfill is left to do, and close what Airflow itself would close within half a minute."""
        wait_for(
            lambda: not {run["state"] for run in self.runs("sim_capture") if run["run_type"] == "backfill"}
            & {"queued", "running"},
            "the end of all backfills",
        )
        for backfill in self.call("GET", "backfills?dag_id=sim_capture&limit=100")["backfills"]:
            if not backfill["completed_at"]:
                with contextlib.suppress(Unavailable):  # Airflow was quicker
                    self.call("PUT", f"backfills/{backfill['id']}/cancel")


def quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")


@contextlib.contextmanager
def running_airflow(
    folder: Path,
    own: Mapping[str, str] | None = None,
    *,
    postgres: bool = False,
    unpaused: Collection[str] = (),
    **settings: Any,
) -> Iterator[RunningAirflow]:
    """Start a stack in `folder`; the bus is this process's environment until it is stopped.

    Args:
        folder: where all that it writes is.
        own: the deployment's own settings of Airflow, `AIRFLOW__SECTION__KEY` to value.
        postgres: Airflow on PostgreSQL, without the stack's supervisor; otherwise as `sim2edge up` starts it.
        unpaused: the only DAGs that are not paused; none named: as in every deployment, all.
        settings: what else the stack is to be like, see `StackSettings`.
    """
    before = dict(os.environ)
    os.environ.update(FAKE_STAGE=str(folder / "behaviours.json"), FAKE_PIDS=str(folder / "pids.json"))
    chosen = make_settings(folder, settings)
    write_private(chosen.home / "airflow-settings.env", format_secrets(dict(own or {})))
    try:
        with open_stack(chosen, {}) if postgres else supervised(chosen) as stack:
            os.environ.update(stack.environment())
            airflow = RunningAirflow(stack, folder)
            airflow.behave()
            wait_for(lambda: airflow.dags() >= ALWAYS, "the DAGs")
            for dag in airflow.dags() - set(unpaused) if unpaused else ():
                airflow.call("PATCH", f"dags/{dag}", {"is_paused": True})
            yield airflow
    finally:
        os.environ.clear()
        os.environ.update(before)


def make_settings(folder: Path, more: Mapping[str, Any]) -> StackSettings:
    """S3 and Airflow on free ports, with the stand-in for the interpreter of the stages."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {AIRFLOW_PYTHON} {FAKE_STAGE} "$@"\n')
    python.chmod(0o755)
    return StackSettings(
        home=folder / "stack",
        s3_port=first_free(),
        airflow_port=free_ports(1)[0],
        airflow_python=AIRFLOW_PYTHON,
        stage_python=python,
        only=("s3", "airflow"),
        preset="demo",
        **more,
    )


@contextlib.contextmanager
def supervised(settings: StackSettings) -> Iterator[Stack]:
    """The stack as `sim2edge up` starts it; it stops with the context, or with this process."""
    stack = Stack(settings)
    stack.start(attached=True)
    try:
        yield stack
    finally:
        stack.stop()
