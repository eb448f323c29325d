"""The proxy as a server before an engine that this test plays: streams, ends, bad requests, an engine that is gone."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_requests import BODY, CONTAINER

from sim2edge.cli import main
from sim2edge.engine_proxy.commands import check_socket
from sim2edge.errors import BadInput


class Engine:
    """A tiny engine on a socket: one container, whose log never ends; notes what reaches it."""

    def __init__(self, path: Path) -> None:
        self.open_logs = 0
        self.forget()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self) -> None:
        """Be as new: the container is the lab's, and nothing came."""
        self.deployment = "lab"
        self.requests: list[str] = []
        self.bodies: list[bytes] = []

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._server.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            while line := stream.readline():
                headers = {}
                while (header := stream.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                self.bodies.append(stream.read(int(headers.get("content-length", 0))))
                self.requests.append(line.decode().rsplit(" ", 1)[0])
                self._answer(connection, self.requests[-1])

    def _answer(self, connection: socket.socket, request: str) -> None:
        if "/logs" in request:
            return self._stream(connection)
        if f"/containers/{CONTAINER}/json" in request or f"/containers/{CONTAINER[:12]}/json" in request:
            labels = {"sim2edge.deployment": self.deployment}
            return self._json(
                connection, 200, {"Id": CONTAINER, "Config": {"Labels": labels}, "State": {"Status": "running"}}
            )
        if "/containers/json" in request or "/start" in request or "/_ping" in request or "/create" in request:
            return self._json(connection, 201 if "create" in request else 200, [])
        return self._json(connection, 404, {"message": "No such container: x"})

    def _json(self, connection: socket.socket, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)

    def _stream(self, connection: socket.socket) -> None:
        self.open_logs += 1
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
            connection.settimeout(0.1)
            while True:
                with contextlib.suppress(TimeoutError):
                    if connection.recv(1) == b"":
                        return
        finally:
            self.open_logs -= 1


class Proxy:
    """The proxy as a process."""

    def __init__(self, folder: Path, socket_path: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._log = folder / "proxy.log"
        command = [sys.executable, "-m", "sim2edge", "engine-proxy", f"--listen=127.0.0.1:{self.port}"]
        command += [f"--socket={socket_path}", "--deployment=lab", "--network=lab-stages"]
        self.process = subprocess.Popen(command, stderr=self._log.open("wb"), stdout=subprocess.DEVNULL)
        wait_for(lambda: "listening" in self._log.read_text() or self.process.poll() is not None)
        self._known = 0

    def forget(self) -> None:
        """Let what it has said be known."""
        self._known = len(self._log.read_text())

    def said(self) -> list[dict[str, str]]:
        """What it has said since."""
        return [json.loads(line) for line in self._log.read_text()[self._known :].splitlines()]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def send(self, request: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(request)
        return connection

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send bytes as they are; status and all that comes back."""
        with self.send(request) as connection:
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]


def wait_for(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def request(method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: engine", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Proxy]]:
    """An engine and a proxy before it, for every test that leaves them as they were."""
    folder = tmp_path_factory.mktemp("lab")
    engine = Engine(folder / "engine.sock")
    proxy = Proxy(folder, folder / "engine.sock")
    yield engine, proxy
    assert proxy.end() == 0
    engine.close()


@pytest.fixture
def engine(both: tuple[Engine, Proxy]) -> Engine:
    both[0].forget()
    return both[0]


@pytest.fixture
def proxy(both: tuple[Engine, Proxy]) -> Proxy:
    both[1].forget()
    return both[1]


def test_what_is_allowed_reaches_the_engine_anew(proxy: Proxy, engine: Engine):
    body = json.dumps(BODY, indent=4).encode()
    assert proxy.ask(request("POST", "/v1.45/containers/create", body, X_Registry_Auth="secret"))[0] == 201
    assert engine.requests == ["POST /v1.45/containers/create"]
    assert json.loads(engine.bodies[0]) == BODY
    assert engine.bodies[0] != body, "the very bytes of the client"


def test_a_short_id_becomes_the_whole_id(proxy: Proxy, engine: Engine):
    assert proxy.ask(request("POST", f"/v1.45/containers/{CONTAINER[:12]}/start"))[0] == 200
    assert engine.requests[-1] == f"POST /v1.45/containers/{CONTAINER}/start"


def test_a_refusal_reaches_nobody_and_is_logged_in_one_line(proxy: Proxy, engine: Engine):
    status, answer = proxy.ask(request("POST", f"/v1.45/containers/{CONTAINER}/exec", b'{"Cmd":["sh"]}'))
    assert status == 403
    assert json.loads(answer)["message"] == "refused by the engine proxy: not a request that stages need"
    assert engine.requests == []
    refusals = [line for line in proxy.said() if line["event"] == "refused"]
    assert len(refusals) == 1
    assert refusals[0]["method"] == "POST"
    assert refusals[0]["target"].endswith("/exec")


def test_a_container_of_others_is_looked_at_but_not_touched(proxy: Proxy, engine: Engine):
    engine.deployment = "another"
    assert proxy.ask(request("DELETE", f"/v1.45/containers/{CONTAINER}?force=1"))[0] == 403
    assert engine.requests == [f"GET /containers/{CONTAINER}/json"]


def test_what_the_engine_does_not_know_is_not_found(proxy: Proxy):
    status, answer = proxy.ask(request("GET", f"/v1.45/containers/{'f' * 64}/json"))
    assert (status, json.loads(answer)["message"]) == (404, "No such container: x")


def test_a_log_streams_as_it_comes_and_ends_with_its_reader(proxy: Proxy, engine: Engine):
    connection = proxy.send(request("GET", f"/v1.45/containers/{CONTAINER}/logs?stdout=1&follow=1"))
    received = b""
    while b"first\n" not in received:
        chunk = connection.recv(4096)
        assert chunk, "ended before its first line"
        received += chunk
    assert engine.open_logs == 1
    connection.close()
    wait_for(lambda: engine.open_logs == 0, 5)


@pytest.mark.parametrize(
    "raw",
    [
        request("POST", f"/v1.45/containers/{CONTAINER}/start", Upgrade="tcp").replace(b"close", b"Upgrade"),
        b"POST /v1.45/containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\n\r\n",
        request("GET", "/v1.45/../_ping"),
        request("GET", "/v1.45/%2e%2e/_ping"),
        request("GET", "//_ping"),
        request("GET", "http://engine/v1.45/_ping"),
        request("POST", "/v1.45/containers/create", b"{}", Content_Encoding="gzip"),
    ],
)
def test_tricks_on_the_wire_are_refused(proxy: Proxy, engine: Engine, raw: bytes):
    status, _ = proxy.ask(raw)
    assert status in (400, 403)
    assert engine.requests == []


def test_two_lengths_are_no_second_request(proxy: Proxy, engine: Engine):
    hidden = request("POST", f"/v1.45/containers/{CONTAINER}/exec")
    raw = (
        b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(hidden), hidden)
    )
    assert proxy.ask(raw)[0] == 400
    assert engine.requests == []


def test_a_huge_body_is_refused_before_it_is_read(proxy: Proxy, engine: Engine):
    head = request("POST", "/v1.45/containers/create").replace(b"Content-Length: 0", b"Content-Length: 999999999")
    started = time.monotonic()
    status, _ = proxy.ask(head)
    assert status == 403
    assert time.monotonic() - started < 5


def test_an_engine_that_has_gone_is_said_in_one_line(tmp_path: Path):
    engine = Engine(tmp_path / "engine.sock")
    proxy = Proxy(tmp_path, tmp_path / "engine.sock")
    try:
        (tmp_path / "engine.sock").unlink()
        engine.close()
        status, answer = proxy.ask(request("GET", "/_ping"))
    finally:
        assert proxy.end() == 0
    assert status == 503
    assert "the engine does not answer at" in json.loads(answer)["message"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--socket=/nowhere.sock"], r"/nowhere.sock: no engine's socket"),
        (["--socket=/etc/hostname"], r"/etc/hostname: not a socket"),
        (["--listen=nonsense"], r"--listen 'nonsense': expected HOST:PORT"),
        (["--socket={socket}", "--listen=203.0.113.1:1"], r"--listen 203.0.113.1:1: "),
    ],
)
def test_a_bad_setup_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "engine.sock"))
        filled = [word.replace("{socket}", str(tmp_path / "engine.sock")) for word in arguments]
        assert main(["engine-proxy", *filled]) == 2
    said = capsys.readouterr().err
    assert re.search(complaint, said)
    assert said.count("\n") == 1


def test_a_socket_without_permission_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # this user may be root, who may do anything
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "engine.sock"))
        with pytest.raises(BadInput, match=r"engine\.sock: no permission for user \d+: it belongs to group \d+"):
            check_socket(tmp_path / "engine.sock")
