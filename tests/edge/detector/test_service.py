"""The service over real HTTP, in a process of its own: who is let in, what is refused, what is counted."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sim2edge.edge.bundle import unpack_bundle, write_bundle
from sim2edge.edge.detector.http_api import MAX_BODY_BYTES
from sim2edge.edge.detector.service import main, read_metrics_token

TOKEN = "a-token-of-this-test"


@dataclass
class Device:
    """A running service."""

    process: subprocess.Popen[str]
    port: int
    token: str = TOKEN

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body, {"Authorization": f"Bearer {self.token}"} | headers)
        response = connection.getresponse()
        return response.status, response.read()

    def error(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        """Status and message of an answer that has to be one line of JSON."""
        status, answer = self.ask(method, path, body, **headers)
        assert answer.endswith(b"\n")
        assert answer.count(b"\n") == 1
        return status, json.loads(answer)["error"]

    def health(self) -> dict[str, Any]:
        return json.loads(self.ask("GET", "/healthz")[1])

    def metrics(self) -> dict[str, float]:
        """Every sample by name and label values."""
        text = self.ask("GET", "/metrics")[1].decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {",".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def start(slot: Path, *arguments: str) -> Device:
    ready, token = slot.parent / "ready", slot.parent / "token"
    token.write_text(TOKEN + "\n")
    command = [sys.executable, "-m", "sim2edge.edge.detector.service", "--bundle", str(slot), "--port", "0"]
    command += ["--token-file", str(token), "--ready-file", str(ready), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not ready.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline, "the service did not start"
        time.sleep(0.02)
    return Device(process, int(ready.read_text()))


def stop(device: Device) -> str:
    """End the service as a supervisor does; gives what it said."""
    device.process.send_signal(signal.SIGTERM)
    said = device.process.communicate(timeout=20)[1]
    assert device.process.returncode == 0
    return said


def wait_for(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, members: Callable[..., dict[str, bytes]]) -> Iterator[Device]:
    """A service for the tests that end nothing and need no fresh counters."""
    folder = tmp_path_factory.mktemp("device")
    write_bundle(folder / "bundle.tar", members())
    running = start(unpack_bundle(folder / "bundle.tar", folder / "slot").folder)
    yield running
    stop(running)


@pytest.fixture
def fresh(slot: Path) -> Iterator[Device]:
    """A service that has done nothing yet."""
    running = start(slot)
    yield running
    stop(running)


def jpeg(height: int = 60, width: int = 80) -> bytes:
    return cv2.imencode(".jpg", np.full((height, width, 3), 250, np.uint8))[1].tobytes()


def test_only_the_token_opens_any_door(device: Device) -> None:
    before = device.health()["inferences"]
    for method, path in (("GET", "/healthz"), ("GET", "/metrics"), ("POST", "/predict"), ("GET", "/nowhere")):
        for value in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"):
            status, message = device.error(method, path, Authorization=value)
            assert (status, message) == (401, "a valid bearer token is needed"), (path, value)
    assert device.ask("GET", "/healthz", Authorization=f"bearer {TOKEN}")[0] == 200
    assert device.health()["inferences"] == before


def test_the_metrics_token_opens_metrics_and_nothing_else(slot: Path) -> None:
    secret = slot.parent / "metrics-token"
    secret.write_text("for-metrics-alone\n")
    device = start(slot, "--metrics-token-file", str(secret))
    try:
        bearer = {"Authorization": "Bearer for-metrics-alone"}
        assert device.ask("GET", "/metrics", **bearer)[0] == 200
        assert device.ask("GET", "/metrics")[0] == 200
        for method, path in (("GET", "/healthz"), ("POST", "/predict"), ("GET", "/metrics/../healthz")):
            assert device.ask(method, path, **bearer)[0] == 401
    finally:
        stop(device)


def test_a_jpeg_gives_a_detection(device: Device) -> None:
    status, body = device.ask("POST", "/predict", jpeg(60, 80))
    answer = json.loads(body)
    assert status == 200
    assert answer["release"] == "abcdef0123456789"
    assert answer["floor"] == "wood"
    (chair,) = answer["obstacles"]
    assert chair["label"] == "chair"
    assert chair["box"] == pytest.approx([20, 15, 40, 30])


def test_what_cannot_be_served_is_told_in_one_line(device: Device) -> None:
    assert device.error("GET", "/nowhere") == (404, "no such path")
    assert device.error("POST", "/predict", b"GIF? no") == (400, "not an image")
    assert device.error("POST", "/predict", b"") == (400, "not an image")
    assert device.error("POST", "/predict", jpeg()[:200])[0] in (200, 400)
    assert device.error("GET", "/predict") == (405, "/predict takes POST")
    assert device.error("POST", "/healthz", b"x") == (405, "/healthz takes GET")
    assert device.error("POST", "/predict", bytes(MAX_BODY_BYTES + 1))[0] == 413
    assert device.error("POST", "/predict", **{"Transfer-Encoding": "chunked"})[0] == 411
    assert device.error("DELETE", "/healthz")[0] == 501
    assert device.health()["errors"] == 0, "a bad request is not the device's error"


def test_a_picture_of_a_gigapixel_is_refused(device: Device) -> None:
    """16384 x 16384 pixels of nothing in a PNG of under a megabyte."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 16384
    pixels = zlib.compress(bytes((side * 3 + 1) * 64), 9)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    assert device.error("POST", "/predict", png + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))[0] == 400
    assert device.metrics()["sim2edge_resident_memory_bytes"] < 200 * 2**20


def test_rubbish_instead_of_http_does_not_hurt(device: Device) -> None:
    for rubbish in (b"\x00\xff" * 50 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET /healthz HTTP/9.9\r\n\r\n", b""):
        with socket.create_connection(("127.0.0.1", device.port), timeout=10) as connection:
            connection.sendall(rubbish)
    assert device.ask("GET", "/healthz")[0] == 200


def test_a_connection_serves_many_requests(device: Device) -> None:
    before = device.health()["inferences"]
    connection = http.client.HTTPConnection("127.0.0.1", device.port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/predict", jpeg(), {"Authorization": f"Bearer {TOKEN}"})
        assert connection.getresponse().read()
    assert device.health()["inferences"] == before + 3


def test_health_and_metrics_count_alike(fresh: Device) -> None:
    device = fresh
    before = device.health()
    assert (before["state"], before["healthy"], before["last_inference_age_s"]) == ("starting", True, None)
    for _ in range(4):
        device.ask("POST", "/predict", jpeg())
    health, metrics = device.health(), device.metrics()
    assert health["state"] == "running"
    assert health["inferences"] == 4
    assert health["consecutive_errors"] == health["errors"] == 0
    assert health["last_inference_age_s"] < 10
    assert 0 < health["latency_ms_p50"] <= health["latency_ms_p95"]
    assert metrics["sim2edge_inferences_total"] == 4
    assert metrics["sim2edge_inference_seconds_count"] == 4
    assert metrics["sim2edge_detections_total,chair"] == 4
    assert metrics["sim2edge_floors_total,wood"] == 4
    assert metrics["sim2edge_release_info,perception,abcdef0123456789"] == 1
    assert metrics["sim2edge_model_age_seconds"] > 0


def test_a_camera_feeds_the_detector(slot: Path) -> None:
    frames = slot.parent / "frames"
    frames.mkdir()
    (frames / "0001.jpg").write_bytes(jpeg())
    (frames / "0002.jpg").write_bytes(jpeg())
    device = start(slot, "--source", str(frames), "--rate", "50")
    wait_for(lambda: device.health()["inferences"] > 5)
    assert device.health()["state"] == "running"
    for frame in frames.iterdir():
        frame.write_bytes(b"not a frame")
    wait_for(lambda: device.health()["state"] == "failing")
    health = device.health()
    assert health["consecutive_errors"] >= 3
    assert "not an image" in health["last_error"]
    assert device.ask("GET", "/healthz")[0] == 503
    assert device.metrics()["sim2edge_errors_total,camera"] >= 3
    for frame in frames.iterdir():
        frame.write_bytes(jpeg())
    wait_for(lambda: device.health()["state"] == "running")
    assert '"event": "stopped"' in stop(device)


def test_sigterm_ends_it_while_a_client_dawdles(slot: Path) -> None:
    device = start(slot)
    with socket.create_connection(("127.0.0.1", device.port)) as dawdler:
        dawdler.sendall(b"GET /healthz HTTP/1.1\r\n")
        started = time.monotonic()
        stop(device)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--bundle", "nowhere"], "no release.json"),
        (["--token-file", "nowhere"], "token file nowhere"),
        (["--source", "nowhere"], "neither a folder of JPEGs nor a camera"),
        (["--source", "."], "holds no .jpg files"),
        (["--rate", "0"], "--rate: has to be above 0"),
        (["--port", "99999"], "99999"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(
    slot: Path,
    arguments: list[str],
    problem: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIM2EDGE_DEVICE_TOKEN", TOKEN)
    monkeypatch.chdir(slot.parent)
    assert main(["--bundle", str(slot), "--port", "0", *arguments]) == 2
    said = capsys.readouterr().err
    assert problem in said
    assert said.count("\n") == 1


def test_a_token_is_mandatory(slot: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIM2EDGE_DEVICE_TOKEN", raising=False)
    assert main(["--bundle", str(slot)]) == 2
    assert "no token" in capsys.readouterr().err


def test_a_taken_port_is_named(slot: Path, device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    token = slot.parent / "token"
    token.write_text(TOKEN)
    assert main(["--bundle", str(slot), "--port", str(device.port), "--token-file", str(token)]) == 2
    assert f"127.0.0.1:{device.port}" in capsys.readouterr().err


def test_the_token_is_not_on_the_command_line(device: Device) -> None:
    assert TOKEN not in Path(f"/proc/{device.process.pid}/cmdline").read_text()
    assert TOKEN not in os.environ.values()


def test_sigterm_before_it_serves_is_not_lost(slot: Path) -> None:
    for delay in (0.1, 0.6):
        device = subprocess.Popen(
            [sys.executable, "-m", "sim2edge.edge.detector.service", "--bundle", str(slot), "--port", "0"],
            env=os.environ | {"SIM2EDGE_DEVICE_TOKEN": TOKEN},
            stderr=subprocess.DEVNULL,
        )
        time.sleep(delay)
        device.send_signal(signal.SIGTERM)
        assert device.wait(timeout=20) in (0, -signal.SIGTERM), "ends cleanly, or by the signal while Python starts"


@pytest.mark.parametrize("kind", ["missing", "pipe", "folder", "empty", "binary", "huge"])
def test_a_token_for_the_metrics_that_cannot_be_read_does_not_keep_the_robot_from_detecting(tmp_path, capfd, kind):
    path = tmp_path / "token"
    make = {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "empty": path.touch,
        "binary": lambda: path.write_bytes(b"\xff"),
        "huge": lambda: path.write_bytes(bytes(10_000)),
    }
    make.get(kind, lambda: None)()
    assert read_metrics_token(path) is None
    assert str(path) in capfd.readouterr().err


def test_a_token_for_the_metrics_is_what_its_file_holds(tmp_path):
    (tmp_path / "token").write_text("for metrics\n")
    assert read_metrics_token(tmp_path / "token") == "for metrics"
    assert read_metrics_token(None) is None
