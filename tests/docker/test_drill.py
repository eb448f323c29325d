"""The drill: twenty kills at random moments of whatever makes a pipeline run in containers.

    make drill                          SEED=7 make drill
    DRILL_ENGINE="service docker restart" make drill     the engine, too, by the command that restarts it here

Batches go through `capture` and `clean` in their real images, under a real scheduler and S3 server. At the end every
run has committed or has failed with a reason; no container, no volume, no half-written and no second artifact is left.
A batch that comes after the last kill goes through both stages.
"""

import contextlib
import os
import random
import subprocess
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import psutil
import pytest
from docker_stack import DockerStack, make_root, wait_for

from sim2edge.errors import Unavailable

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1800)]
DEPLOYMENT = os.environ["AIRFLOW__SIM2EDGE__DEPLOYMENT"]
SEED = int(os.environ.get("SEED", "1"))
RESTART_ENGINE = os.environ.get("DRILL_ENGINE", "")
SHARES = {"task": 6, "worker": 5, "container": 4, "scheduler": 3, "s3": 2}
"""Twenty kills; the stack itself gives up on a service that ends too often within two minutes."""
AT_ONCE = 2
"""Runs that are under way while something is killed."""
SMALL = ["capture.episodes=24", "capture.episode_seconds=2", "capture.workers=1"]
PATIENCE_S = 400
AFTERWARDS = "afterwards"
ENDED = ("success", "failed")
DAGS = ("sim_capture", "data_cleaning", "reap_containers")


@pytest.fixture
def airflow(tmp_path_factory, engine) -> Iterator[DockerStack]:
    folder = tmp_path_factory.mktemp("drill")
    settings = {
        "runtime": "docker",
        "docker_network": "host",
        "deployment": DEPLOYMENT,
        "task_instance_heartbeat_timeout": "20",
        "task_instance_heartbeat_timeout_detection_interval": "5",
    }
    tag = os.environ.get("SIM2EDGE_TAG") or version("sim2edge")
    limits = {"all": {"image": f"sim2edge/{{stage}}:{tag}", "cpus": 1, "memory_mb": 1024}}
    root = make_root(folder / "root", settings, limits, {})
    for name in ("retrain_dag.py", "train_model_dag.py", "release_model_dag.py"):
        (root / "dags" / name).unlink()
    before = dict(os.environ)
    stack = DockerStack(folder / "stack", root, engine, DEPLOYMENT)
    try:
        stack.start()
        stack.wait_for_dags(DAGS)
        yield stack
    finally:
        stack.stop()
        os.environ.clear()
        os.environ.update(before)


class Saboteur:
    """Kills one thing at a time, in an order that the dice say."""

    def __init__(self, airflow: DockerStack, dice: random.Random) -> None:
        self._airflow = airflow
        self._dice = dice
        self.killed: Counter[str] = Counter()
        self._ways: dict[str, Callable[[], bool]] = {
            "task": lambda: self._kill_task(worker=False),
            "worker": lambda: self._kill_task(worker=True),
            "container": self._kill_container,
            "scheduler": lambda: self._kill_service("airflow-scheduler"),
            "s3": lambda: self._kill_service("s3"),
            "engine": self._restart_engine,
        }

    def order(self) -> list[str]:
        """What is killed one after the other."""
        names = list(Counter({**SHARES, "engine": 1 if RESTART_ENGINE else 0}).elements())
        self._dice.shuffle(names)
        return names

    def strike(self, name: str) -> None:
        """Kill one of those, as soon as there is one."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(psutil.Error, Unavailable, AssertionError, ValueError):
                if self._ways[name]():
                    self.killed[name] += 1
                    return
            time.sleep(0.5)

    def _kill_task(self, worker: bool) -> bool:
        running = [each for each in instances(self._airflow) if each["state"] == "running" and each["pid"]]
        if not running:
            return False
        process = psutil.Process(self._dice.choice(running)["pid"])
        victim = process.parent() if worker else process
        if worker and "LocalExecutor" not in " ".join(victim.cmdline()):
            return False  # its worker is gone already, and the stack's supervisor has adopted it
        victim.kill()
        return True

    def _kill_container(self) -> bool:
        running = [each for each in self._airflow.containers() if each.status == "running"]
        if running:
            self._dice.choice(running).kill()
        return bool(running)

    def _kill_service(self, name: str) -> bool:
        process = self._airflow.process(name)
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                each.kill()
        return True

    def _restart_engine(self) -> bool:
        subprocess.run(RESTART_ENGINE, shell=True, check=True, timeout=120)  # noqa: S602 - the caller's own command
        return True


def runs(airflow: DockerStack) -> list[dict[str, Any]]:
    return [run for dag in DAGS[:2] for run in airflow.call("GET", f"dags/{dag}/dagRuns?limit=100")["dag_runs"]]


def instances(airflow: DockerStack) -> list[dict[str, Any]]:
    alive = [run for run in runs(airflow) if run["state"] not in ENDED]
    return [task for run in alive for task in airflow.client.instances(run["dag_id"], run["dag_run_id"])]


def keep_busy(airflow: DockerStack, batches: Iterator[str]) -> None:
    """As many runs as there should be; Airflow may be away just now."""
    with contextlib.suppress(Unavailable):
        for _ in range(AT_ONCE - len([run for run in runs(airflow) if run["state"] not in ENDED])):
            airflow.trigger("sim_capture", next(batches), overrides=SMALL)


def test_twenty_kills_at_random_moments_lose_nothing_and_leave_nothing(airflow, engine, capsys):
    dice = random.Random(SEED)
    saboteur = Saboteur(airflow, dice)
    batches = (f"drill-{number}" for number in range(1, 1000))
    began = time.monotonic()
    for name in saboteur.order():
        keep_busy(airflow, batches)
        time.sleep(dice.uniform(1, 10))
        saboteur.strike(name)
    wait_for(lambda: all_have_ended(airflow), PATIENCE_S)
    airflow.trigger("sim_capture", AFTERWARDS, overrides=SMALL)
    wait_for(lambda: all_have_ended(airflow), PATIENCE_S)
    ended = runs(airflow)
    failures = {run["dag_run_id"]: reason_of(airflow, run) for run in ended if run["state"] == "failed"}
    reaped = reap(airflow)
    logs = [path.read_text(errors="replace") for path in (airflow.home / "airflow" / "logs").rglob("attempt=*.log")]
    reattached = sum("Resuming" in log for log in logs)
    swept = airflow.bus.sweep(timedelta(0))
    with capsys.disabled():
        seconds = time.monotonic() - began
        print(f"\n{saboteur.killed.total()} kills, seed {SEED}: {dict(saboteur.killed)} in {seconds:.0f} s")
        print(f"runs: {Counter((run['dag_id'], run['state']) for run in ended)}")
        print(f"tries: {len(logs)}, of which {reattached} went on with a container; reaped: {len(reaped)} {reaped}")
        print(f"objects of killed attempts that were swept: {len(swept)}")
        for run, reason in failures.items():
            print(f"failed: {run}: {reason}")
    assert all(failures.values()), "a failed run says why"
    assert airflow.containers() == []
    assert half_written(airflow) == []
    assert duplicates(airflow) == []
    committed = {manifest.partition for manifest in airflow.bus.manifests("frames")}
    succeeded = {run["partition_key"] for run in ended if (run["dag_id"], run["state"]) == (DAGS[1], "success")}
    assert succeeded <= committed
    assert AFTERWARDS in succeeded, "what comes after the kills goes through"


def all_have_ended(airflow: DockerStack) -> bool:
    """No run is under way, and none is about to follow."""
    with contextlib.suppress(Unavailable):
        if all(run["state"] in ENDED for run in runs(airflow)):
            time.sleep(5)
            return all(run["state"] in ENDED for run in runs(airflow))
    return False


def reason_of(airflow: DockerStack, run: dict[str, Any]) -> str:
    """Why the task of a run failed: an error in its log, or what Airflow noted when the worker was gone."""
    task = next(
        each for each in airflow.client.instances(run["dag_id"], run["dag_run_id"]) if each["state"] == "failed"
    )
    lines = airflow.client.log(run["dag_id"], run["dag_run_id"], task["task_id"], task["try_number"])
    said = [line for line in lines if "Exception: " in line or "Error: " in line or "terminated by signal" in line]
    query = urllib.parse.urlencode({"dag_id": run["dag_id"], "run_id": run["dag_run_id"], "limit": 100})
    noted = airflow.call("GET", f"eventLogs?{query}")["event_logs"]
    said += [str(each["extra"]) for each in noted if each["event"] in ("heartbeat timeout", "state mismatch")]
    return said[0][:160] if said else ""


def reap(airflow: DockerStack) -> list[str]:
    """What the reaper removes once everything is old enough for it."""
    before = [container.short_id for container in airflow.containers()]
    if before:
        time.sleep(61)
    run = airflow.trigger_plain("reap_containers")
    assert airflow.ended("reap_containers", run, "reap", 120)["state"] == "success"
    return before


def half_written(airflow: DockerStack) -> list[str]:
    """Objects below an artifact's folder that no manifest names."""
    bus = airflow.bus
    found = []
    for reference in bus.artifacts():
        manifest = bus.find(reference)
        kept = (f"{reference}/manifest.json", f"{reference}/{manifest.attempt}/") if manifest else ()
        found += [key for key in bus.list(reference) if not key.startswith(kept)]
    return found


def duplicates(airflow: DockerStack) -> list[str]:
    """Batches with more than one artifact of a kind, although all runs had the same settings."""
    counted = Counter((kind, each.partition) for kind in ("episodes", "frames") for each in airflow.bus.manifests(kind))
    return [f"{kind}/{partition}: {count}" for (kind, partition), count in counted.items() if count > 1]
