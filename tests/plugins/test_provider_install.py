"""The wheel of this checkout in Airflow: a folder with one DAG of docs/provider.md, a real S3 server, and nothing else.

    .venvs/airflow/bin/python -m pytest -m slow tests/plugins/test_provider_install.py

Each of the two environments is as `pip install <wheel>[extra]` makes it: the wheel itself is unpacked into it, and what
it depends on is linked from the environment of the lock, each package at its path, without the editable installation of
the checkout. `test_the_lock_has_what_the_wheel_asks_for` checks that these are the versions that the wheel wants.
"""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sim2edge.errors import Unavailable
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.services.loopback import free_ports

ROOT = Path(__file__).parents[2]
UV = ROOT / ".venvs/uv/bin/uv"
STAGES = ROOT / ".venvs/stages"
TINY = ("episodes=1", "workers=1", "verify_every=0", "episode_seconds=1", "camera.width=64", "camera.height=48")
PATIENCE_S = 240
PASSWORD = secrets.token_urlsafe()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([ROOT / "scripts/wheel.sh", folder], check=True)
    (found,) = folder.glob("*.whl")
    return found


def site_packages(environment: Path) -> Path:
    (found,) = (environment / "lib").glob("python3.*/site-packages")
    return found


def install(wheel: Path, folder: Path, lock: Path) -> Path:
    """Make an environment of the wheel and of what the environment `lock` has besides us; its interpreter."""
    subprocess.run([UV, "venv", "--quiet", "--offline", "--python", lock / "bin/python", folder], check=True)
    site = site_packages(folder)
    for package in site_packages(lock).iterdir():
        if not re.match(r"sim2edge|__editable__|_virtualenv|__pycache__", package.name):
            (site / package.name).symlink_to(package)
    command = [UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", folder / "bin/python", wheel]
    subprocess.run(command, check=True)
    return folder / "bin/python"


@pytest.mark.parametrize(("extra", "lock"), [("airflow", Path(sys.prefix)), ("capture", STAGES)])
def test_the_lock_has_what_the_wheel_asks_for(wheel, extra, lock):
    versions = {
        each.metadata["Name"].lower().replace("_", "-"): each.version
        for each in metadata.distributions(path=[str(site_packages(lock))])
    }
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = archive.read(name).decode().splitlines()
    wanted = [Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-Dist: ")]
    chosen = [each for each in wanted if not each.marker or each.marker.evaluate({"extra": extra})]
    assert len(chosen) > 5
    for each in chosen:
        version = versions[each.name.lower().replace("_", "-")]
        assert each.specifier.contains(version), f"{each} but the lock has {version}"


def dag_of_the_docs() -> str:
    text = (ROOT / "docs/provider.md").read_text()
    (found,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(found.splitlines()) <= 15
    return found


class Airflow:
    """The four processes of an Airflow that knows nothing of the checkout."""

    def __init__(self, python: Path, home: Path, environment: Mapping[str, str]) -> None:
        self.home, self._python = home, python
        self.port = free_ports(1)[0]
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            **environment,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self.port}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{self.port}",
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        }
        (home / "passwords.json").write_text(json.dumps({"admin": PASSWORD}))

    def call(self, *words: str) -> str:
        command = [self._python, "-m", "airflow", *words]
        done = subprocess.run(
            command, env=self._environment, cwd=self.home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The API server first: a task that is due before it answers would fail."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._process("api-server"))
            self.client = wait_for(self._log_in, "the API server")
            for words in (("scheduler", "--skip-serve-logs"), ("dag-processor",)):
                stack.enter_context(self._process(*words))
            yield

    def _log_in(self) -> AirflowClient:
        return AirflowClient(f"http://127.0.0.1:{self.port}", "admin", PASSWORD)

    @contextlib.contextmanager
    def _process(self, *words: str) -> Iterator[None]:
        with (
            (self.home / f"{words[0]}.log").open("wb") as log,
            subprocess.Popen(
                [self._python, "-m", "airflow", *words],
                env=self._environment,
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield
            finally:
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def wait_for(look, what):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(Unavailable):
            if found := look():
                return found
        time.sleep(0.3)
    pytest.fail(f"{what}: not within {PATIENCE_S} s")


@pytest.fixture
def airflow(wheel, s3, tmp_path) -> Airflow:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags/my_dag.py").write_text(dag_of_the_docs())
    bus = {name: value for name, value in os.environ.items() if name.startswith("AWS_") or name == "SIM2EDGE_BUCKET"}
    stage_python = install(wheel, tmp_path / "stages", STAGES)
    python = install(wheel, tmp_path / "airflow", Path(sys.prefix))
    return Airflow(python, tmp_path, {**bus, "SIM2EDGE_STAGE_PYTHON": str(stage_python)})


def test_the_dag_of_the_docs_runs_in_an_empty_folder_and_commits_its_artifact(airflow, s3, partition):
    airflow.call("db", "migrate")
    assert "sim2edge" in airflow.call("providers", "list", "--output", "plain")
    assert str(ROOT) not in airflow.call("plugins", "--output", "yaml")
    assert airflow.call("config", "get-value", "sim2edge", "runtime").strip().endswith("process")
    with airflow.running():
        wait_for(lambda: airflow.client._call("GET", "/api/v2/dags")["dags"], "the DAG")
        run = airflow.client.trigger("my_capture", partition, {"overrides": [f"capture.{word}" for word in TINY]})
        state = wait_for(lambda: ended(airflow.client, run), "the end of the run")
        log = "\n".join(airflow.client.log("my_capture", run, "capture", 1))
        assert state == "success", log
        reference = airflow.client.result("my_capture", run, "capture")
    assert reference in s3.artifacts("episodes", partition)


def ended(client: AirflowClient, run: str) -> str | None:
    state = client.tasks("my_capture", run)["capture"]["state"]
    return state if state in ("success", "failed", "skipped", "upstream_failed") else None
