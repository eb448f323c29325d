"""Serve the detector on the device: frames from a camera, single images over HTTP, health and metrics.

    python -m sim2edge.edge.service --bundle /data/slots/a --token-file /data/token --source 0 --rate 10

GET /healthz, GET /metrics, POST /predict (a JPEG, answered with JSON). Every request carries `Authorization: Bearer
<token>`; the token comes from the file or from SIM2EDGE_DEVICE_TOKEN. A second token, for a metrics collector, grants
access to /metrics only. Errors are one line of JSON. SIGTERM ends the service cleanly.
"""

import argparse
import hmac
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sim2edge.edge.camera_source import FrameError, Image, Source, decode_jpeg, open_source
from sim2edge.edge.health import Health
from sim2edge.edge.obstacle_detector import Detection, ObstacleDetector
from sim2edge.edge.prometheus_metrics import DeviceMetrics
from sim2edge.errors import BadInput

TOKEN_VARIABLE = "SIM2EDGE_DEVICE_TOKEN"  # noqa: S105
MAX_BODY_BYTES = 8 * 2**20
MAX_DISCARDED_BYTES = 2 * MAX_BODY_BYTES
REQUEST_TIMEOUT_S = 10
SHUTDOWN_S = 5
"""Longest wait at shutdown for a camera that hangs."""

END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
ROUTES = {"/healthz": "GET", "/metrics": "GET", "/predict": "POST"}


class DetectorService:
    """The detector with its counters; one inference at a time, for all callers."""

    def __init__(self, detector: ObstacleDetector, stall_after_s: float | None = None) -> None:
        self._detector = detector
        self._lock = threading.Lock()
        self.health = Health(detector.bundle.release.id, stall_after_s)
        self.metrics = DeviceMetrics(detector.bundle.release, installed=detector.bundle.installed)

    def infer(self, image: Image) -> Detection:
        """Run the detector on one image and count the success or failure."""
        with self._lock:
            start = time.perf_counter()
            try:
                detection = self._detector.detect(image)
            except Exception as error:
                self.fail("inference", error)
                raise
            seconds = time.perf_counter() - start
            self.health.succeeded(seconds)
        self.metrics.observe(detection, seconds)
        return detection

    def fail(self, kind: str, error: Exception) -> None:
        """Count and log a frame that failed; `kind` is camera or inference."""
        self.health.failed(f"{kind}: {error}")
        self.metrics.count_error(kind)
        log("error", kind=kind, error=str(error))


def watch_camera(service: DetectorService, source: Source, rate_hz: float, stop: threading.Event) -> None:
    """Feed frames of `source` to the detector, `rate_hz` a second, until `stop` is set."""
    due = time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        due = max(due + 1 / rate_hz, time.monotonic())
        try:
            image = source.read()
        except FrameError as error:
            service.fail("camera", error)
            continue
        with suppress(Exception):  # counted and logged by infer; the camera goes on and the updater judges the counters
            service.infer(image)
    source.close()


class Server(ThreadingHTTPServer):
    """The HTTP server with the service and the tokens its handlers need."""

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], service: DetectorService, token: str, metrics_token: str | None = None
    ) -> None:
        super().__init__(address, Handler)
        self.service = service
        self.token = token.encode()
        self.metrics_token = metrics_token.encode() if metrics_token else None

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Log a failed connection as one line."""
        log("connection lost", client=str(client_address), error=repr(sys.exc_info()[1]))


class Handler(BaseHTTPRequestHandler):
    """Handles one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "sim2edge"
    sys_version = ""
    timeout = REQUEST_TIMEOUT_S
    disable_nagle_algorithm = True
    _body_was_read = False

    def do_GET(self) -> None:
        """Handle GET /healthz and /metrics."""
        self._dispatch("GET")

    def do_POST(self) -> None:
        """Handle POST /predict."""
        self._dispatch("POST")

    def _dispatch(self, method: str) -> None:
        self._body_was_read = False
        path = self.path.partition("?")[0]
        if not self._authorized(path):
            self._refuse(HTTPStatus.UNAUTHORIZED, "a valid bearer token is needed")
        elif path not in ROUTES:
            self._refuse(HTTPStatus.NOT_FOUND, "no such path")
        elif ROUTES[path] != method:
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes {ROUTES[path]}")
        elif path == "/predict":
            self._predict()
        elif path == "/metrics":
            body = self.server.service.metrics.render()
            self._answer(HTTPStatus.OK, body, "text/plain; version=0.0.4; charset=utf-8")
        else:
            health = self.server.service.health.report()
            self._answer_json(HTTPStatus.OK if health["healthy"] else HTTPStatus.SERVICE_UNAVAILABLE, health)

    def _authorized(self, path: str) -> bool:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        accepted = [self.server.token]
        if path == "/metrics" and self.server.metrics_token:
            accepted.append(self.server.metrics_token)
        matches = [hmac.compare_digest(token.strip().encode(), each) for each in accepted]
        return any(matches) and scheme.lower() == "bearer"

    def _predict(self) -> None:
        length = self._content_length()
        if length is None:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing")
            return
        if length > MAX_BODY_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")
            return
        body = self.rfile.read(length)
        self._body_was_read = True
        try:
            image = decode_jpeg(body)
        except BadInput as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        try:
            detection = self.server.service.infer(image)
        except Exception:  # counted and logged by infer
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the inference failed")
            return
        self._answer_json(HTTPStatus.OK, {"release": self.server.service.health.release, **asdict(detection)})

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self.close_connection = True
        self._answer_json(status, {"error": message})
        self._discard_body()

    def _discard_body(self) -> None:
        """Read the rest of the request: closing the socket earlier would reset the connection and lose the answer."""
        left = 0 if self._body_was_read else min(self._content_length() or 0, MAX_DISCARDED_BYTES)
        while left > 0 and (chunk := self.rfile.read(min(left, 1 << 16))):
            left -= len(chunk)

    def _content_length(self) -> int | None:
        length = self.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() and len(length) < 20 else None

    def _answer_json(self, status: HTTPStatus, content: object) -> None:
        self._answer(status, json.dumps(content).encode() + b"\n", "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer malformed requests and unknown methods like every other error."""
        self._body_was_read = True  # the headers may be missing
        self._refuse(HTTPStatus(code), message or explain or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: requests are counted in the metrics."""


def read_token(path: Path | None) -> str:
    """Return the token, from the file or from the environment.

    Raises:
        BadInput: both are missing, or the token is empty.
    """
    try:
        token = (path.read_text() if path else os.environ.get(TOKEN_VARIABLE, "")).strip()
    except (OSError, ValueError) as error:
        raise BadInput(f"token file {path}: {error}") from error
    if not token:
        raise BadInput(f"no token: give --token-file or set {TOKEN_VARIABLE}")
    return token


def write_atomically(path: Path, text: str) -> None:
    """Write `path` atomically: readers see all of its content or no file."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)


def log(event: str, **fields: object) -> None:
    """Write one event as a line of JSON to standard error."""
    print(json.dumps({"event": event, **fields}), file=sys.stderr, flush=True)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="sim2edge.edge.service", description="Run a release on this device.")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the unpacked bundle")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0: any free one")
    parser.add_argument("--token-file", type=Path, help=f"file with the token; default: the variable {TOKEN_VARIABLE}")
    parser.add_argument("--metrics-token-file", type=Path, help="file with a token that grants /metrics only")
    parser.add_argument("--source", help="folder of JPEGs, camera index, device file or URL; default: HTTP only")
    parser.add_argument("--rate", type=float, default=10.0, help="frames a second taken from the source")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime")
    parser.add_argument("--ready-file", type=Path, help="file to write the port to once the service answers")
    return parser.parse_args(arguments)


def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        BadInput: the bundle, the token or the source cannot be used, or the port is taken.
    """
    if arguments.rate <= 0:
        raise BadInput("--rate: has to be above 0")
    token = read_token(arguments.token_file)
    metrics_token = read_token(arguments.metrics_token_file) if arguments.metrics_token_file else None
    detector = ObstacleDetector(arguments.bundle, arguments.threads)
    source = open_source(arguments.source) if arguments.source else None
    service = DetectorService(detector, stall_after_s=max(5.0, 10 / arguments.rate) if source else None)
    try:
        server = Server((arguments.host, arguments.port), service, token, metrics_token)
    except (OSError, OverflowError) as error:
        raise BadInput(f"{arguments.host}:{arguments.port}: {error}") from error
    stop = threading.Event()
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)]
    if source:
        camera = (service, source, arguments.rate, stop)
        threads.append(threading.Thread(target=watch_camera, args=camera, daemon=True))
    for thread in threads:
        thread.start()
    port = server.server_address[1]
    log("serving", release=service.health.release, host=arguments.host, port=port)
    if arguments.ready_file:
        write_atomically(arguments.ready_file, f"{port}\n")
    signal.sigwait(END_SIGNALS)
    stop.set()
    server.shutdown()
    for thread in threads:
        thread.join(SHUTDOWN_S)
    server.server_close()
    log("stopped", release=service.health.release)


@contextmanager
def signals_held() -> Iterator[None]:
    """Block the ending signals for `sigwait`: a handler may run while its thread holds a needed lock."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service and return the exit code: 0 after SIGTERM, 2 when it cannot start."""
    parsed = parse_arguments(arguments)
    try:
        with signals_held():
            serve(parsed)
    except BadInput as error:
        log("cannot start", error=str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
