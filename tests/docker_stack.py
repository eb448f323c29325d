"""The local stack with its stages in containers, as a user and a saboteur see it; the checkout stays as it is."""

import json
import os
import re
import shutil
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import docker
import psutil
from port_range import first_free

from sim2edge.bus import Bus
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.services.loopback import free_ports
from sim2edge.stack.client import Stack
from sim2edge.stack.settings import StackSettings

CHECKOUT = Path(__file__).parents[1]
LINKED = ("plugins", "conf", "requirements.txt")
ENDED = ("success", "failed", "skipped", "upstream_failed")


def make_root(folder: Path, settings: Mapping[str, str], stages: Mapping[str, Any], dags: Mapping[str, str]) -> Path:
    """A checkout with other settings, limits and DAG files: `settings` are lines of airflow.cfg, name to value."""
    folder.mkdir()
    for name in LINKED:
        (folder / name).symlink_to(CHECKOUT / name)
    shutil.copytree(CHECKOUT / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in dags.items():
        (folder / "dags" / name).write_text(text)
    (folder / "containers").mkdir()
    (folder / "containers" / "stages.yaml").write_text(json.dumps(stages))
    text = (CHECKOUT / "airflow.cfg").read_text()
    for name, value in settings.items():
        text, count = re.subn(rf"^{name} =.*$", f"{name} = {value}", text, flags=re.MULTILINE)
        if not count:  # a default, which the file does not repeat
            text = text.replace("[sim2edge]\n", f"[sim2edge]\n{name} = {value}\n")
    (folder / "airflow.cfg").write_text(text)
    return folder


def short_capture(timeout_s: int) -> str:
    """`sim_capture` as a DAG `short_capture` whose task may take a few seconds, and is retried at once."""
    text = (CHECKOUT / "dags" / "sim_capture_dag.py").read_text()
    text = text.replace("sim_capture", "short_capture").replace("timedelta(hours=6)", f"timedelta(seconds={timeout_s})")
    retry_at_once = "default_args={**DEFAULT_ARGS, 'retries': 1, 'retry_delay': timedelta(0)}"
    return text.replace("default_args=DEFAULT_ARGS", retry_at_once)


class DockerStack:
    """S3 and Airflow on this machine, stages in containers in its own network."""

    def __init__(self, home: Path, root: Path, engine: docker.DockerClient, deployment: str) -> None:
        self.stack = Stack(
            StackSettings(
                home=home,
                root=root,
                s3_port=first_free(),
                airflow_port=free_ports(1)[0],
                airflow_python=Path(sys.executable),
                stage_python=Path(sys.executable),
                only=("s3", "airflow"),
                preset="demo",
            )
        )
        self.engine = engine
        self.deployment = deployment
        self.home = home

    def start(self) -> None:
        self.stack.start(attached=True)
        os.environ.update(self.stack.environment())
        login = self.stack.logins()["airflow"]
        self.client = AirflowClient(login.url, login.user, login.password)

    def stop(self) -> None:
        self.stack.stop()

    @property
    def bus(self) -> Bus:
        return Bus.from_environment()

    def secrets(self) -> list[str]:
        """The real values that nobody may see: the admin's key and those of all roles."""
        files = list(self.home.rglob("*.env"))
        lines = [line.partition("=") for file in files for line in file.read_text().splitlines()]
        found = [value for name, _, value in lines if "SECRET" in name or "PASSWORD" in name]
        return [*found, self.stack.logins()["s3"].password]

    def wait_for_dags(self, names: Iterable[str]) -> None:
        wanted = set(names)
        wait_for(lambda: wanted <= {each["dag_id"] for each in self.call("GET", "dags")["dags"]}, 90)

    def trigger(self, dag: str, partition: str, **conf: Any) -> str:
        return self.client.trigger(dag, partition, conf)

    def trigger_plain(self, dag: str, **conf: Any) -> str:
        """A run of a DAG that knows no batches."""
        return str(self.call("POST", f"dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"])

    def task(self, dag: str, run: str, task: str) -> dict[str, Any]:
        return self.client.tasks(dag, run)[task]

    def ended(self, dag: str, run: str, task: str, seconds: float = 90) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.task(dag, run, task)
            return found if found["state"] in ENDED else None

        return wait_for(look, seconds)

    def log(self, dag: str, run: str, task: str, attempt: int = 1) -> str:
        return "\n".join(self.client.log(dag, run, task, attempt))

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return self.client._call(method, f"/api/v2/{path}", body)

    def instance_path(self, dag: str, run: str, task: str) -> str:
        return f"dags/{dag}/dagRuns/{urllib.parse.quote(run, safe='')}/taskInstances/{task}"

    def containers(self, run: str | None = None) -> list[Any]:
        labels = [f"sim2edge.deployment={self.deployment}", *([f"sim2edge.run={run}"] if run else [])]
        return self.engine.containers.list(all=True, filters={"label": labels}, ignore_removed=True)

    def container(self, run: str, said: bytes = b"", seconds: float = 60) -> Any:
        """The one container of a run, once it runs and has said something."""

        def look() -> Any:
            found = [each for each in self.containers(run) if each.status == "running"]
            return found[0] if found and said in found[0].logs() else None

        return wait_for(look, seconds)

    def task_process(self, dag: str, run: str, task: str) -> psutil.Process:
        """The process of a running task; its parent is the worker that supervises it."""
        return psutil.Process(self.task(dag, run, task)["pid"])

    def process(self, service: str) -> psutil.Process:
        """The process of a service of the stack, such as `airflow-scheduler` or `s3`."""
        (found,) = [each for each in self.stack.services() if each.name == service]
        process = found.process.find() if found.process else None
        assert process
        return process


def wait_for(look: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.2)
    return found
