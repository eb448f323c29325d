"""The pages in Airflow's UI, on a real API server and a real S3 server, with 1,000 batches in the bucket.

Batches are made up (`made_up.py`), with 50 trainings and their runs in Airflow's database. What a page takes is timed
by whoever asks for it, on loopback; S3 requests are counted on their way to S3.
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
    """Passes connections on to S3, counting the HTTP requests in them."""

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
    """An API server that answers."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid
        self._token = ""

    def log_in(self) -> None:
        """Get a token."""
        body = json.dumps({"username": "admin", "password": PASSWORD}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/auth/token", body, headers)  # noqa: S310
        answer = urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER)  # noqa: S310
        self._token = json.load(answer)["access_token"]

    def view(self, path: str) -> str:
        """Return one page."""
        headers = {"Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(f"{self.url}/sim2edge/{path}", headers=headers)  # noqa: S310
        return urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).read().decode()  # noqa: S310

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
    """Cold start, memory, then each page: median and p95, and S3 requests a view."""
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
                f"median {median:.0f} ms, {cpu_ms:.0f} ms of CPU; {asked} S3 requests in {VIEWS} views, all refreshes'"
            )
            yield Result(f"page.{name}", p95, "ms (p95)", "limit", LIMIT_MS, most=1.0, note=note)
        yield from measure_idle_refresh(counter)
        yield Result("page.memory_after", server.memory_mb, "MB", note="the API server after all views")


def measure_cold_start(server: Server, counter: RequestCounter) -> Iterator[Result]:
    """Yield the first look after a start, and how long until everything is read."""
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
    """Return whether the page counts every made-up batch; what other measurements left in the bucket comes on top."""
    found = COUNTED.search(page)
    return found is not None and int(found[1].replace(",", "")) >= BATCHES and "Still reading" not in page


def measure_idle_refresh(counter: RequestCounter) -> Iterator[Result]:
    """Yield what keeping the catalog, refs and fleet fresh costs S3 when nothing is new."""
    before, start = counter.count, time.perf_counter()
    time.sleep(30)
    rate = (counter.count - before) / (time.perf_counter() - start)
    yield Result("page.refresh", rate * 60, "S3 requests a minute", note="while somebody looks and nothing is new")


def timed(call: Callable[[], object]) -> float:
    """Return seconds that a call takes; then a breath, so that refreshes fall in between."""
    start = time.perf_counter()
    call()
    taken = time.perf_counter() - start
    time.sleep(0.05)
    return taken


@contextmanager
def running_server(place: Workplace, s3_port: int) -> Iterator[Server]:
    """Provide an API server with a database of its own, and the runs of the made-up batches in it."""
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
    """Run Airflow's interpreter to its end."""
    command: Sequence[str] = [str(AIRFLOW), *words]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr[-800:]}")


def wait_until_healthy(url: str) -> None:
    """Wait for the server's answer."""
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5).read()  # noqa: S310
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
