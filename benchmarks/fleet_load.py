"""Measure what one device asks of the update server, and reckon what a fleet of them costs.

    python -m benchmarks fleet_load
    python -m benchmarks.fleet_load --devices 10000 --interval 300 --idle-requests 2 --idle-bytes 1930 ...

A real device process reads `ota/` from a web server that counts requests and bytes, and reports to the bucket. The
prices are assumptions to change: the list of a large cloud, per thousand requests and per gigabyte sent.
"""

import argparse
import json
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.ota import wait_until_accepted
from benchmarks.results import Result
from benchmarks.service_process import stop
from benchmarks.workplace import RING, Workplace
from sim2edge.bus import Bus
from sim2edge.demo.virtual_device import write_unseen_frames
from sim2edge.errors import Missing
from sim2edge.processes import spawn

DAY_S = 86_400
DEADLINE_S = 120.0
IDLE_S = 20.0
INTERVAL_S = 1.0
STATUSES_A_DAY = DAY_S / 600
"""Of a device without news."""
STATUSES_A_ROLLOUT = 3
"""On trial, accepted, and one for the download."""


@dataclass(frozen=True)
class Prices:
    """US dollars, without a discount or a free tier."""

    thousand_gets: float = 0.0004
    thousand_puts: float = 0.005
    gigabyte: float = 0.09
    """Sent to the internet."""


@dataclass(frozen=True)
class Device:
    """What one device asks of the server."""

    idle_requests: float
    """Of a check without news."""
    idle_bytes: float
    """Sent by the server, headers included, in a check without news."""
    rollout_requests: float
    """More than idle, from the check that finds a release to the one that ends its trial."""
    rollout_bytes: float


@dataclass(frozen=True)
class Load:
    """What a fleet asks of the server, and what that costs."""

    gets: float
    puts: float
    gigabytes: float
    dollars: float


def idle_day(device: Device, devices: int, interval_s: float, prices: Prices) -> Load:
    """Return the load of a day without news."""
    checks = devices * DAY_S / interval_s
    return price(checks * device.idle_requests, devices * STATUSES_A_DAY, checks * device.idle_bytes / 1e9, prices)


def rollout(device: Device, devices: int, prices: Prices) -> Load:
    """Return the load of one release for the whole fleet, beside the idle one."""
    sent = devices * device.rollout_bytes / 1e9
    return price(devices * device.rollout_requests, devices * STATUSES_A_ROLLOUT, sent, prices)


def price(gets: float, puts: float, gigabytes: float, prices: Prices) -> Load:
    """Return a load with its price."""
    dollars = gets / 1000 * prices.thousand_gets + puts / 1000 * prices.thousand_puts + gigabytes * prices.gigabyte
    return Load(gets, puts, gigabytes, dollars)


class CountingServer:
    """A web server of `ota/` on a bus that counts what it is asked for and what it sends."""

    def __init__(self, bus: Bus) -> None:
        self.requests = 0
        self.sent = 0
        self.paths: dict[str, int] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                self.wfile = CountingWriter(self.connection, outer)  # type: ignore[assignment]

            def do_GET(self) -> None:
                outer.requests += 1
                outer.paths[self.path] = outer.paths.get(self.path, 0) + 1
                try:
                    data, status = bus.get("ota" + self.path), 200
                except Missing:
                    data, status = b"", 404
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def counts(self) -> tuple[int, int]:
        """Return the requests and the bytes sent so far."""
        return self.requests, self.sent

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class CountingWriter(socketserver._SocketWriter):  # type: ignore[name-defined,misc]
    """Counts what is written to a connection."""

    def __init__(self, connection: object, server: CountingServer) -> None:
        super().__init__(connection)
        self._counter = server

    def write(self, data: bytes) -> int:
        """Send and count."""
        self._counter.sent += len(data)
        return int(super().write(data))


def measure(place: Workplace) -> Iterator[Result]:
    """Yield requests and bytes of a device, and the cost of ten thousand with the device's own interval."""
    device = measure_device(place)
    yield Result("fleet_load.idle_requests", device.idle_requests, "", note="requests of a check without news")
    yield Result("fleet_load.idle_bytes", device.idle_bytes, "B", note="sent by the server, headers included")
    yield Result("fleet_load.rollout_requests", device.rollout_requests, "", note="a first release, trial included")
    yield Result("fleet_load.rollout_bytes", device.rollout_bytes, "B", note="the bundle is most of it")
    for interval_s in (30.0, 300.0):
        day = idle_day(device, 10_000, interval_s, Prices())
        note = f"10,000 devices, a check every {interval_s:.0f} s: {describe(day)}"
        yield Result("fleet_load.idle_day", day.dollars, "$", note=note)
    whole = rollout(device, 10_000, Prices())
    yield Result("fleet_load.rollout", whole.dollars, "$", note=f"10,000 devices, one release: {describe(whole)}")


def measure_device(place: Workplace) -> Device:
    """Run a device from nothing to a release that passed its trial, then let it check without news."""
    place.stage("push")
    server = CountingServer(place.bus)
    home, camera = place.new_folder("device"), place.new_folder("camera")
    write_unseen_frames(place.bus, place.stage("augment").manifest.reference, camera)
    command = [sys.executable, "-m", "sim2edge", "device", "run", "--id", "bench", "--ring", RING, "--home", str(home)]
    command += ["--root", str(place.keys / "root.json"), "--source", str(camera), "--rate", "20"]
    process = spawn(
        [*command, "--interval", str(INTERVAL_S), "--mirror", server.url], place.environment, home, home / "agent.log"
    )
    try:
        wait_until_accepted(home, time.monotonic() + DEADLINE_S)
        time.sleep(2 * INTERVAL_S)
        first, before = server.counts(), checks(server)
        time.sleep(IDLE_S)
        last, after = server.counts(), checks(server)
    finally:
        stop(process)
        server.close()
    done = after - before
    requests, sent = (last[0] - first[0]) / done, (last[1] - first[1]) / done
    return Device(requests, sent, first[0] - before * requests, first[1] - before * sent)


def checks(server: CountingServer) -> int:
    """Return how often the device has checked: each check reads the timestamp once."""
    return server.paths.get("/metadata/timestamp.json", 0)


def describe(load: Load) -> str:
    """Return a load as a line."""
    return f"{load.gets / 1e6:.2f} M GET, {load.puts / 1e6:.2f} M PUT, {load.gigabytes:.2f} GB, {load.dollars:.2f} $"


def main() -> None:
    """Print the load of a fleet from measured figures and prices, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet_load", description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--interval", type=float, default=30.0, help="seconds between two checks")
    for name in ("idle-requests", "idle-bytes", "rollout-requests", "rollout-bytes"):
        parser.add_argument(f"--{name}", type=float, required=True, help="as `python -m benchmarks fleet_load` prints")
    for name, value in vars(Prices()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, help="US dollars")
    given = parser.parse_args()
    device = Device(given.idle_requests, given.idle_bytes, given.rollout_requests, given.rollout_bytes)
    prices = Prices(given.thousand_gets, given.thousand_puts, given.gigabyte)
    day, release = idle_day(device, given.devices, given.interval, prices), rollout(device, given.devices, prices)
    print(json.dumps({"idle_day": vars(day), "rollout": vars(release)}, indent=1))


if __name__ == "__main__":
    main()
