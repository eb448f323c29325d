"""A stack started as the README says, until its first release is out; then each shell block that can be run there.

    .venvs/stages/bin/python -m pytest -m slow tests/docs

Real stages with the preset `tiny`, in a folder that looks like the checkout: `.venvs`, and `.sim2edge` of its own.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from docs.blocks import CHECKOUT, Block, shell_blocks
from docs.coverage_of_blocks import BLOCKS, FIRST, How, Run
from ingest.foreign_logs import START_NS, TICK_NS, robot_drive, write_bag

from sim2edge.bus import Bus
from sim2edge.demo.virtual_device import VirtualDevice, write_unseen_frames
from sim2edge.errors import Unavailable
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.follow.stages import PIPELINE
from sim2edge.manifest import split_reference
from sim2edge.services.loopback import free_ports
from sim2edge.stack.client import Stack
from sim2edge.stack.definitions import DEVICES
from sim2edge.stack.settings import load_settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RELEASE_DEADLINE_S = 600
BLOCK_DEADLINE_S = 300
FOREIGN = ("AWS_", "MLFLOW_", "AIRFLOW_", "SIM2EDGE_")
TO_RUN = [block for block in shell_blocks() if isinstance(BLOCKS.get(block.key), Run) and block.key != FIRST]


@dataclass
class Place:
    """A folder to run blocks in, and the variables of the shell there."""

    folder: Path
    variables: dict[str, str]

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run commands as one who pastes them into a shell does, but stop at the first that fails."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BLOCK_DEADLINE_S,
            check=False,
        )

    def stack(self) -> Stack:
        return Stack(load_settings({}, self.variables))

    def airflow(self) -> AirflowClient:
        login = self.stack().logins()["airflow"]
        return AirflowClient(login.url, login.user, login.password)

    def cancel_backfills(self) -> None:
        """End the backfill of an earlier block: Airflow allows one of a DAG at a time."""
        client = self.airflow()
        for backfill in client._call("GET", "/api/v2/backfills?dag_id=sim_capture")["backfills"]:
            if not backfill["completed_at"]:
                with contextlib.suppress(Unavailable):  # it has ended by now
                    client._call("PUT", f"/api/v2/backfills/{backfill['id']}/cancel")


def run_block(place: Place, block: Block, how: How) -> str:
    """Run a block, with what it replaces, and check exit code and output; return the output."""
    assert isinstance(how, Run)
    text = block.text
    for old, new in how.replace.items():
        text = text.replace(old, new)
    done = place.run(text)
    assert done.returncode == how.code, f"{block.file}:{block.line}:\n{text}\n{done.stdout[-3000:]}"
    assert how.says in done.stdout, f"{block.file}:{block.line}:\n{text}\n{done.stdout[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, free_range: Callable[[int], int]) -> Iterator[Place]:
    """Where the stack runs that the README's first commands start."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in (".venvs", "containers", "dags"):
        (folder / name).symlink_to(CHECKOUT / name)
    for name in ("passwords.json", "connection", "fernet-key", "api-secret-key", "jwt-secret"):  # of docs/kubernetes.md
        (folder / name).write_text(name)
    write_bag(folder / "logs" / "one.mcap", robot_drive())
    write_bag(folder / "other-logs" / "one.mcap", another_drive())
    mlflow_port, airflow_port = free_ports(2)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    ours = {
        "HOME": str(folder),
        "SIM2EDGE_HOME": str(folder / ".sim2edge"),
        "SIM2EDGE_S3_PORT": str(free_range(10)),
        "SIM2EDGE_MLFLOW_PORT": str(mlflow_port),
        "SIM2EDGE_AIRFLOW_PORT": str(airflow_port),
        "SIM2EDGE_PRESET": "tiny",
    }
    place = Place(folder, plain | ours)
    try:
        block = next(block for block in shell_blocks() if block.key == FIRST)
        run_block(place, block, BLOCKS[FIRST])
        place.variables |= variables_of_shell(place)
        yield place
    finally:
        place.stack().stop()


def another_drive() -> list[tuple]:
    """A drive on another day, with other pictures and other names of topics."""
    topics = {"/camera/image_raw/compressed": "/front/image", "/scan": "/laser"}
    start_ns = START_NS + 86_400_000_000_000
    sent = [each for each in robot_drive(24, start_ns) if each[2] >= start_ns + 12 * TICK_NS]
    return [(topics.get(topic, topic), *rest) for topic, *rest in sent]


def variables_of_shell(place: Place) -> Mapping[str, str]:
    """What `sim2edge env` adds to a shell, with the PATH of the README's first line."""
    path = f"{place.folder}/.venvs/stages/bin:{place.variables['PATH']}"
    place.variables["PATH"] = path
    lines = place.run("sim2edge env").stdout.splitlines()
    words = (shlex.split(line.removeprefix("export "))[0].partition("=") for line in lines)
    return {name: value for name, _, value in words}


@pytest.fixture(scope="module")
def released(place: Place) -> Iterator[Place]:
    """The place, once a device runs the release of the batch that the README's first commands started."""
    before = dict(os.environ)
    os.environ.update(place.variables)
    device, home = DEVICES[0], place.folder / ".sim2edge"
    try:
        bus = Bus.from_environment()
        place.variables["RELEASE"] = wait_for_release(bus, place)
        agent = VirtualDevice(
            device, "canary", home / "devices" / device, home / "keys/root.json", place.stack().role(f"device-{device}")
        )
        write_unseen_frames(bus, bus.resolve("refs/datasets/current"), agent.camera)
        with agent:
            agent.wait_for(split_reference(place.variables["RELEASE"])[2], 120)
            yield place
    finally:
        os.environ.clear()
        os.environ.update(before)


def wait_for_release(bus: Bus, place: Place) -> str:
    """The first release of the ring `canary`, once it is pushed."""
    deadline = time.monotonic() + RELEASE_DEADLINE_S
    client = place.airflow()
    while (ring := bus.read_ref("refs/rings/canary")) is None:
        failed = [log for dag in PIPELINE for run in client.latest_runs(dag) for log in failed_logs(client, dag, run)]
        assert not failed, failed
        assert time.monotonic() < deadline, "no release in time"
        time.sleep(1)
    (release,) = bus.open(ring.target).inputs["release"]
    return release


def failed_logs(client: AirflowClient, dag: str, run: Mapping[str, str]) -> list[list[str]]:
    """The last lines of each task of a run that has failed."""
    tasks = client.tasks(dag, run["dag_run_id"]) if run["state"] == "failed" else {}
    return [
        client.log(dag, run["dag_run_id"], task, state["try_number"])[-12:]
        for task, state in tasks.items()
        if state["state"] == "failed"
    ]


@pytest.mark.parametrize("block", TO_RUN, ids=lambda block: f"{block.file}:{block.line}")
def test_a_block_does_what_the_page_says(released: Place, block: Block) -> None:
    how = BLOCKS[block.key]
    if isinstance(how, Run) and how.needs and not shutil.which(how.needs):
        pytest.skip(f"{how.needs} is not installed")
    if "backfill create" in block.text:
        released.cancel_backfills()
    run_block(released, block, how)


def test_nothing_of_all_this_is_open_to_others(released: Place) -> None:
    home = released.folder / ".sim2edge"
    paths = [path for path in (home, *home.rglob("*")) if not path.is_symlink() and path.suffix != ".vif"]
    assert {"airflow", "devices", "keys", "logs", "mlflow", "s3"} <= {path.name for path in home.iterdir()}
    assert [str(path) for path in paths if path.stat().st_mode & 0o077] == []


def test_airflow_leaves_nothing_in_the_home_of_the_user(released: Place) -> None:
    assert not (released.folder / "airflow").exists()
