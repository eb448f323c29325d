"""Two Celery workers on hosts of their own finish a batch together; so does one of them, when the other is gone.

    make test-celery

They take root, Redis and PostgreSQL: docs/celery.md.
"""

import re
import subprocess
import time
from typing import Any

import pytest
from hosts import Host
from services import STAGES, Cluster, wait_for

from sim2edge.bus import Bus
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.manifest import Manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHARDS = 8
TINY = ["episodes=16", "camera.width=64", "camera.height=48", "workers=1"]


class Run:
    """A run of `sim_capture`."""

    def __init__(self, cluster: Cluster, client: AirflowClient, batch: str, *overrides: str) -> None:
        self.batch, self._client = batch, client
        words = [f"capture.{word}" for word in (*TINY, *overrides)]
        self._run = client.trigger("sim_capture", batch, {"overrides": words})
        self._cluster = cluster

    def shards(self) -> list[dict[str, Any]]:
        found = [task for task in self._client.instances("sim_capture", self._run) if task["map_index"] >= 0]
        return sorted(found, key=lambda task: task["map_index"])

    def finished(self, seconds: float) -> str:
        """The reference of the batch, once it is there."""

        def look() -> bool:
            state = self._client.tasks("sim_capture", self._run)["capture"]["state"]
            assert state not in ("failed", "upstream_failed", "skipped"), [task["state"] for task in self.shards()]
            return state == "success"

        wait_for(look, seconds, f"batch {self.batch}")
        reference = self._client.result("sim_capture", self._run, "capture")
        assert reference
        return reference

    def log(self, shard: dict[str, Any], attempt: int) -> str:
        path = f"/api/v2/dags/sim_capture/dagRuns/{self._run}/taskInstances/capture_shard/logs/{attempt}"
        query = f"?map_index={shard['map_index']}&full_content=true"
        return str(self._client._call("GET", path + query)["content"])


@pytest.fixture(scope="module")
def client(cluster) -> AirflowClient:
    client = AirflowClient(cluster.api, "admin", cluster.password)
    wait_for(lambda: "sim_capture" in str(client._call("GET", "/api/v2/dags")), 60, "the DAGs")
    client.unpause("sim_capture")  # the DAGs below it stay paused
    return client


@pytest.fixture
def bus(cluster, monkeypatch) -> Bus:
    for name, value in cluster.s3.environment().items():
        monkeypatch.setenv(name, value)
    return Bus.from_environment()


@pytest.fixture(scope="module")
def ready(cluster, hosts) -> list[Host]:
    """The workers, once both listen to the broker."""
    logs = [cluster.logs / f"{host.name}.log" for host in hosts]
    wait_for(lambda: all(f"celery@{log.stem} ready" in log.read_text() for log in logs), 180, "the workers")
    return hosts


def connects(host: Host, address: str, port: int) -> bool:
    return host.run("timeout", "5", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}").returncode == 0


def test_the_hosts_share_nothing_but_the_services(cluster, ready):
    one, two = ready
    for host, other in ((one, two), (two, one)):
        assert all(connects(host, "198.18.77.1", port) for port in cluster.ports.values())
        assert "unreachable" in host.run("bash", "-c", f"exec 3<>/dev/tcp/{other.address}/22").stderr
        assert "unreachable" in host.run("bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80").stderr
        assert host.run("touch", f"/tmp/{host.name}", f"{cluster.logs}/x").returncode == 1, "the services' disk"
        assert host.run("ls", f"/tmp/{other.name}").returncode == 2, "the other's disk"
        assert host.run("hostname").stdout.strip() == host.name
    secrets = {"AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__API__SECRET_KEY"}
    assert not secrets & set(cluster.worker)


def check(bus: Bus, reference: str) -> Manifest:
    """A batch is whole, of 8 parts, and there is nothing else of it."""
    manifest = bus.open(reference)
    assert [bus.open(part).shard for part in manifest.parts] == [f"{n}/{SHARDS}" for n in range(1, SHARDS + 1)]
    assert set(bus.artifacts("episodes", manifest.partition)) == {reference, *manifest.parts}
    assert bus.read_ref(f"refs/batches/{manifest.partition}").target == reference
    assert manifest.summary["episodes"] == 16
    return manifest


def test_both_workers_make_a_batch(cluster, ready, client, bus, capsys):
    began = time.monotonic()
    run = Run(cluster, client, "together", "episode_seconds=3")
    reference = run.finished(300)
    took = time.monotonic() - began
    check(bus, reference)
    made_by = [shard["hostname"] for shard in run.shards()]
    counts = {host.name: made_by.count(host.name) for host in ready}
    with capsys.disabled():
        print(f"\n{SHARDS} shards in {took:.0f} s: {counts}")
    assert min(counts.values()) >= 1
    assert sum(counts.values()) == SHARDS
    assert [shard["rendered_map_index"] for shard in run.shards()] == [f"{n}/{SHARDS}" for n in range(1, SHARDS + 1)]


def test_again_every_task_is_a_cache_hit(cluster, ready, client, bus):
    before = set(bus.list("episodes"))
    run = Run(cluster, client, "together", "episode_seconds=3")
    run.finished(200)
    assert {shard["rendered_fields"]["outcome"].partition(":")[0] for shard in run.shards()} == {"cached"}
    assert set(bus.list("episodes")) == before


def test_whoever_reproduces_it_whole_finds_the_same_bytes(cluster, ready, bus):
    environment = {**cluster.worker, **cluster.stage, "SIM2EDGE_SCRATCH": str(cluster.logs / "scratch")}
    command = [str(STAGES), "-m", "sim2edge", "reproduce", "refs/batches/together"]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    said = re.search(r": (\d+) of (\d+) files identical$", answer.stdout.strip())
    assert said, answer.stdout + answer.stderr
    assert said[1] == said[2]
    assert int(said[1]) > 4 * 16, "four files an episode, and what is about the batch"


def test_a_batch_outlives_a_worker_whose_plug_is_pulled(cluster, ready, client, bus, capsys):
    victim, survivor = ready
    run = Run(cluster, client, "survived", "episode_seconds=20")

    def hit() -> bool:
        mine = [shard["state"] for shard in run.shards() if shard["hostname"] == victim.name]
        return "success" in mine and "running" in mine

    wait_for(hit, 200, "a shard that runs on the victim after one that it finished")
    time.sleep(3)  # into its episodes
    before = run.shards()
    victim.power_off()
    began = time.monotonic()
    reference = run.finished(400)
    took = time.monotonic() - began
    check(bus, reference)
    after = run.shards()
    lost = [task["map_index"] for task in before if task["hostname"] == victim.name and task["state"] == "running"]
    assert lost
    assert [(after[n]["hostname"], after[n]["try_number"]) for n in lost] == [(survivor.name, 2)] * len(lost)
    kept = [task for task in after if task["hostname"] == victim.name]
    assert kept
    with capsys.disabled():
        print(
            f"\nfinished {took:.0f} s after the end of {victim.name}: {len(kept)} shards of its own, {lost} made anew"
        )
    for task in kept:  # its disk is gone, its logs are not
        assert f"capture of batch survived, preset demo: {bus.open(reference).parts[task['map_index']]}" in run.log(
            task, 1
        )


def test_the_logs_are_on_s3_and_nowhere_else(cluster, bus):
    written = list(bus.list("logs"))
    assert [key for key in written if "task_id=capture_shard" in key and "map_index=7" in key]
    assert not list((cluster.logs / "airflow" / "logs").glob("dag_id=*"))
