"""Measure the pages in Airflow's UI, on a real API server and a real S3 server, with 1,000 batches in the bucket.

The batches are synthetic (`made_up.py`), with 50 trainings and their runs in Airflow's database. The client times each
page, on loopback; a proxy in front of S3 counts requests.
"""

import json
import re
import secrets
import socket
import statistics
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.made_up import fill
from benchmarks.postgres_stack import wait_for
from benchmarks.results import Result
from benchmarks.service_process import resident_mb
from benchmarks.workplace import Workplace
from sim2edge.processes import end, spawn
from sim2edge.services.loopback import free_ports

BATCHES, TRAININGS, VIEWS = 1000, 50, 60
LIMIT_MS = 150.0
REQUEST = re.compile(rb"(?:GET|HEAD|PUT|POST|DELETE) /\S* HTTP/1\.1\r\n")
COUNTED = re.compile(r"([\d,]+) batches, newest first")
ROOT = Path(__file__).parents[1]
AIRFLOW = ROOT / ".venvs/airflow/bin/python"
SECONDS_TO_START = 180
SECONDS_TO_ANSWER = 60
PASSWORD = "benchmark"  # noqa: S105 - on loopback, for a minute


class RequestCounter:
    """Forwards connections to S3 and counts the HTTP requests in them."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.count = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                self.count += len(REQUEST.findall(data)) if counted else 0
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()


class Server:
    """A running API server."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid
        self._token = ""

    def log_in(self) -> None:
        """Log in as admin and keep the token."""
        body = json.dumps({"username": "admin", "password": PASSWORD}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/auth/token", body, headers)  # noqa: S310
        answer = urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER)  # noqa: S310
        self._token = json.load(answer)["access_token"]

    def view(self, path: str) -> str:
        """Return one page, or picture."""
        headers = {"Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(f"{self.url}/sim2edge/{path}", headers=headers)  # noqa: S310
        return urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).read().decode(errors="replace")  # noqa: S310

    @property
    def cpu_s(self) -> float:
        """CPU seconds that the process has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    @property
    def memory_mb(self) -> float:
        """Resident memory of the process and its children."""
        processes = [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]
        return sum(map(resident_mb, processes))


def measure(place: Workplace) -> Iterator[Result]:
    """Yield cold start and memory, then for each page median, p95 and S3 requests."""
    fill(place.bus, BATCHES, TRAININGS)
    model = list(place.bus.artifacts("model"))[-1]
    episodes = next(iter(place.bus.artifacts("episodes", "night-0000")))
    port = int(place.environment["AWS_ENDPOINT_URL"].rsplit(":", 1)[1])
    counter = RequestCounter(port)
    with running_server(place, counter.port) as server:
        yield from measure_cold_start(server, counter)
        pages = {
            "grid": "flywheel",
            "batch": "batches/night-0500",
            "model": f"artifacts/{model}",
            "thumbnail": f"thumbnails/{episodes}/12",
            "trends": "trends",
            "timeline": "timeline",
            "storage": "storage",
            "compare": f"compare?left={model}&right=refs/models/champion",
            "models": "models",
            "lineage_up": "lineage/devices/pi-1",
            "lineage_down": f"lineage/{episodes}",
        }
        for name, path in pages.items():
            server.view(path)
            before, cpu_s = counter.count, server.cpu_s
            seconds = [timed(lambda path=path: server.view(path)) for _ in range(VIEWS)]
            asked, cpu_ms = counter.count - before, (server.cpu_s - cpu_s) / VIEWS * 1e3
            median, p95 = statistics.median(seconds) * 1e3, statistics.quantiles(seconds, n=20)[18] * 1e3
            note = (
                f"median {median:.0f} ms, {cpu_ms:.0f} ms of CPU; {asked} S3 requests in {VIEWS} views, all refreshes"
            )
            yield Result(f"page.{name}", p95, "ms (p95)", "limit", LIMIT_MS, most=1.0, note=note)
        yield from measure_idle_refresh(counter)
        yield Result("page.memory_after", server.memory_mb, "MB", note="the API server after all views")


def measure_cold_start(server: Server, counter: RequestCounter) -> Iterator[Result]:
    """Yield the time from a start until the catalog is read, with that of the first page, and the memory growth."""
    before_mb, before = server.memory_mb, counter.count
    start = time.perf_counter()
    first = server.view("flywheel")
    first_s = time.perf_counter() - start
    wait_for(lambda: shows_all(server.view("flywheel")), "all batches on the page")
    whole_s = time.perf_counter() - start
    asked = counter.count - before
    note = f"first page after {first_s:.2f} s, {first.count('<tr>')} rows; {asked} S3 requests"
    yield Result("page.cold_start", whole_s, "s", note=note)
    grown = server.memory_mb - before_mb
    records = 2 * BATCHES + 5 * TRAININGS
    yield Result("page.memory", grown, "MB", note=f"growth by reading about {records} manifests and showing a page")


def shows_all(page: str) -> bool:
    """Return whether the page counts every synthetic batch; other measurements may have left more in the bucket."""
    found = COUNTED.search(page)
    return found is not None and int(found[1].replace(",", "")) >= BATCHES and "Still reading" not in page


def measure_idle_refresh(counter: RequestCounter) -> Iterator[Result]:
    """Yield the S3 requests of refreshing catalog, refs and fleet when nothing is new."""
    before, start = counter.count, time.perf_counter()
    time.sleep(30)
    rate = (counter.count - before) / (time.perf_counter() - start)
    yield Result("page.refresh", rate * 60, "S3 requests a minute", note="while pages are requested and nothing is new")


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of a call, then sleep briefly, so that refreshes run between calls."""
    start = time.perf_counter()
    call()
    taken = time.perf_counter() - start
    time.sleep(0.05)
    return taken


@contextmanager
def running_server(place: Workplace, s3_port: int) -> Iterator[Server]:
    """Provide an API server with a database of its own that contains the runs of the synthetic batches."""
    home, (port,) = place.new_folder("airflow"), free_ports(1)
    environment = {
        **place.environment,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(ROOT / "airflow.cfg"),
        "SIM2EDGE_ROOT": str(ROOT),
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
    }
    run_airflow(environment, "-m", "airflow", "db", "migrate")
    run_airflow(environment, str(ROOT / "benchmarks" / "airflow_rows.py"), str(BATCHES))
    (home / "passwords.json").write_text(json.dumps({"admin": PASSWORD}))
    process = spawn([str(AIRFLOW), "-m", "airflow", "api-server"], environment, home, home / "api.log")
    try:
        server = Server(f"http://127.0.0.1:{port}", process.pid)
        wait_until_healthy(server.url)
        server.log_in()
        yield server
    finally:
        end([psutil.Process(process.pid)], grace_s=10)


def run_airflow(environment: Mapping[str, str], *words: str) -> None:
    """Run Airflow's interpreter and wait for its end.

    Raises:
        RuntimeError: it failed.
    """
    command: Sequence[str] = [str(AIRFLOW), *words]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr[-800:]}")


def wait_until_healthy(url: str) -> None:
    """Wait until the server answers its health check.

    Raises:
        OSError: it does not in time.
    """
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5).read()  # noqa: S310
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
