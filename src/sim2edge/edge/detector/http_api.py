"""Serve a detector over HTTP: health, metrics, and single images.

    server = Server(socket, service, token, metrics_token)
    server.serve_forever()

GET /healthz, GET /metrics, POST /predict (a JPEG, answered with JSON). Every request carries `Authorization: Bearer
<token>`. A second token, for a metrics collector, grants access to /metrics only. Errors are one line of JSON.
"""

import hmac
import json
import socket
import sys
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from sim2edge.edge.detector.camera_source import decode_jpeg
from sim2edge.edge.events import log
from sim2edge.errors import BadInput

if TYPE_CHECKING:
    from sim2edge.edge.detector.service import DetectorService

MAX_BODY_BYTES = 8 * 2**20
MAX_DISCARDED_BYTES = 2 * MAX_BODY_BYTES
REQUEST_TIMEOUT_S = 10
ROUTES = {"/healthz": "GET", "/metrics": "GET", "/predict": "POST"}


class Server(ThreadingHTTPServer):
    """The HTTP server with the service and the tokens its handlers need."""

    daemon_threads = True

    def __init__(
        self, listening: socket.socket, service: "DetectorService", token: str, metrics_token: str | None = None
    ) -> None:
        """Serve on a socket that listens already; it stays open when the server is closed."""
        super().__init__(listening.getsockname()[:2], Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening.dup()
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
