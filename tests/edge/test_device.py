"""Whole devices as processes, on a real S3 server: install, try, keep or take back, and leave nothing behind."""

import hashlib
import json
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ota_server import OtaServer

from sim2edge.bus import Bus
from sim2edge.edge import device
from sim2edge.edge.judgement import trial
from sim2edge.edge.server.identity import make_key
from sim2edge.edge.storage.slots import Slots
from sim2edge.edge.supervision.supervisor import MAX_RESTART_DELAY_S, restart_delay_s
from sim2edge.enrol import register
from sim2edge.errors import BadInput, Unavailable
from sim2edge.fleet import read_device

PATIENCE_S = 40


@pytest.fixture(scope="module")
def server(s3_server, tmp_path_factory, members) -> Iterator[OtaServer]:
    """An update repository on the S3 server; each test has a ring of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment().items():
            patch.setenv(name, value)
        bus = Bus.from_environment()
        bus.delete(bus.list("ota"))
        yield OtaServer(bus, tmp_path_factory.mktemp("server"), members)
        for folder in ("ota", "fleet", "devices"):
            bus.delete(bus.list(folder))


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.jpg"), np.full((32, 32, 3), 80 * index, np.uint8))
    return folder


class Device:
    """An agent as a process of its own."""

    def __init__(self, home: Path, ring: str, server: OtaServer, frames: Path) -> None:
        self.home = home
        self.name = f"pi-{ring}"
        options = {
            "--id": self.name,
            "--ring": ring,
            "--home": home,
            "--root": server.keys.root_file,
            "--source": frames,
            "--rate": 50,
            "--interval": 0.5,
        }
        words = [str(word) for option in options.items() for word in option]
        self.command = [sys.executable, "-m", "sim2edge", "device", "run", *words]
        self.log = home.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log, stdout=log)

    def until(self, condition: Callable[[dict], bool]) -> dict:
        """Wait for a status that meets a condition; the status."""
        deadline = time.monotonic() + PATIENCE_S
        status: dict = {}
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            if (self.home / "status.json").exists():
                status = device.read_status(self.home)
                if condition(status):
                    return status
            time.sleep(0.1)
        raise AssertionError(f"{status}\n{self.log.read_text()}")

    def until_running(self, release: str) -> dict:
        return self.until(lambda s: s["release"] == release and s["state"] == "running" and s["inferences"] > 0)

    def detectors(self) -> list[psutil.Process]:
        """The detector processes of this home, whoever their parent is now."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if "sim2edge.edge.detector.service" in words and any(word.startswith(f"{self.home}/") for word in words):
                found.append(process)
        return found

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(20)
        deadline = time.monotonic() + 5
        while self.detectors() and time.monotonic() < deadline:
            time.sleep(0.05)
        return code


@pytest.fixture
def start(server, frames, tmp_path):
    """Starts devices; those that still run are ended with the test."""
    started = []

    def start_one(ring: str) -> Device:
        started.append(Device(tmp_path / ring, ring, server, frames))
        return started[-1]

    yield start_one
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def test_the_life_of_a_device(server, start, tmp_path):
    server.publish("r1", ring="life")
    public = make_key(tmp_path / "life")
    register.change(server.bus, lambda records: register.enrol(records, "pi-life", public, "life"))
    pi = start("life")
    status = pi.until_running("r1")
    assert status["previous"] is None
    assert stat.S_IMODE((pi.home / "token").stat().st_mode) == 0o600

    token = (pi.home / "token").read_text().strip()
    request = urllib.request.Request(
        f"http://127.0.0.1:{status['port']}/healthz", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        assert json.load(answer)["release"] == "r1"
    (detector,) = pi.detectors()
    assert not [name for name in detector.environ() if name.startswith("AWS_")]

    second = subprocess.run(pi.command, capture_output=True, text=True, timeout=30)
    assert second.returncode == 2
    assert "a device is running there already" in second.stderr

    server.publish("r2", ring="life")
    assert pi.until_running("r2")["previous"] == "r1"
    reported = read_device(server.bus, pi.name)
    assert (reported.identity, reported.ring) == ("verified", "life")

    assert pi.end(signal.SIGKILL) == -signal.SIGKILL
    assert pi.detectors() == []
    assert device.read_status(pi.home)["state"] == "stopped"

    again = start("life")
    assert again.until_running("r2")["restarts"] == 0
    assert again.end(signal.SIGTERM) == 0
    assert again.detectors() == []


@pytest.mark.slow
def test_a_release_that_does_not_start_is_taken_back_and_not_tried_again(server, start, monkeypatch):
    server.publish("good", ring="rollback")
    pi = start("rollback")
    pi.until_running("good")
    make = server._members
    monkeypatch.setattr(server, "_members", lambda **fields: with_bad_model(make(**fields)))
    server.publish("bad", ring="rollback")
    status = pi.until(lambda s: s["release"] == "good" and s["state"] == "running" and s["failure"])
    assert status["failure"]["release"] == "bad"
    assert "ONNX Runtime cannot load it" in status["failure"]["reason"]
    assert status["bans"] == [status["failure"]]
    pi.until(lambda s: s["message"].startswith("held back: release bad failed"))
    monkeypatch.setattr(server, "_members", make)
    server.publish("better", ring="rollback")
    pi.until_running("better")


def with_bad_model(members: dict[str, bytes]) -> dict[str, bytes]:
    """The members of a bundle whose model is no model, all hashes right."""
    bad = b"not a model"
    release = json.loads(members["release.json"])
    release["files"]["model.onnx"] = hashlib.sha256(bad).hexdigest()
    return members | {"model.onnx": bad, "release.json": json.dumps(release).encode()}


@pytest.mark.slow
def test_a_release_that_rots_on_the_card_is_fetched_again(server, start):
    server.publish("r1", ring="crash")
    pi = start("crash")
    pi.until_running("r1")
    slots = Slots(pi.home)
    (slots.folder(trial.boots(slots.state)) / "model.onnx").write_bytes(b"damaged on the card")
    pi.detectors()[0].kill()
    pi.until(lambda s: s["restarts"] == 1)
    assert pi.until_running("r1")["failure"] is None
    server.publish("r2", ring="crash")
    pi.until_running("r2")


def test_what_is_refused_is_told_in_one_line_and_the_old_release_runs_on(server, start):
    server.publish("r1", ring="refused")
    pi = start("refused")
    pi.until_running("r1")
    server.publish("unfit", ring="refused", requires={"runtime": "tensorrt", "memory_mb": 1})
    status = pi.until(lambda s: "tensorrt" in s["message"])
    assert status["message"].startswith("release unfit needs the runtime 'tensorrt'; this device has: ")
    assert (status["release"], status["state"]) == ("r1", "running")


# The command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--id", "../x"], "--id '../x': expected 1 to 63 of a-z, 0-9, '-'"),
        (["--ring", "A"], "--ring 'A': expected"),
        (["--rate", "0"], "--rate 0: has to be above 0"),
        (["--rate", "inf"], "--rate inf: has to be above 0, and at most 1000"),
        (["--trial-seconds", "nan"], "--trial-seconds nan: has to be above 0"),
        (["--interval", "1e300"], "--interval 1e+300: has to be above 0, and at most 604800"),
        (["--threads", "-5"], "--threads -5: has to be above 0, and at most "),
        (["--threads", "1000000"], "--threads 1e+06: has to be above 0, and at most "),
        (["--port", "99999"], "--port 99999: has to be 0 to 65535"),
        ([], "root.json: missing: give --root"),
        (["--root", "/nonexistent"], "--root /nonexistent: no such file or directory: not the root.json that"),
        (["--root", "/dev/zero"], "--root /dev/zero: not a regular file: not the root.json that"),
        (["--root", "/etc/passwd"], "--root /etc/passwd: not a root: "),
    ],
)
def test_bad_arguments_are_named(tmp_path, monkeypatch, words, message):
    monkeypatch.setenv("SIM2EDGE_BUCKET", "none")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    with pytest.raises(BadInput) as error:
        device.main(["run", "--id", "pi-1", "--home", str(tmp_path), *words])
    assert message in str(error.value)


def test_an_unset_variable_of_the_shell_is_no_home(capsys):
    with pytest.raises(SystemExit) as ended:
        device.main(["status", "--home", ""])
    assert ended.value.code == 2
    assert "--home: empty" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", '"x"', "5", "NaN", "[" * 100_000, "{"])
def test_a_damaged_status_is_none(tmp_path, text):
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(BadInput, match="no device has run here"):
        device.main(["status", "--home", str(tmp_path)])


def test_a_home_where_no_device_ran_has_no_status(tmp_path):
    with pytest.raises(BadInput, match="no device has run here"):
        device.main(["status", "--home", str(tmp_path)])


@given(st.lists(st.floats(0, 100), max_size=50).map(sorted))
def test_the_pause_before_a_restart_grows_and_is_bounded(exits):
    assert 0 <= restart_delay_s(exits, 100) <= MAX_RESTART_DELAY_S
    assert restart_delay_s(exits, 100) <= restart_delay_s([*exits, 100], 100)
    assert restart_delay_s([100], 100) == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(24, "Too many open files"), Unavailable),
        (OSError(12, "Cannot allocate memory"), Unavailable),
        (OSError(37, "No locks available"), Unavailable),
        (MemoryError(), Unavailable),
        (OSError(5, "Input/output error"), OSError),
        (ValueError("a defect"), ValueError),
    ],
)
def test_a_start_that_fails_for_want_of_memory_or_descriptors_asks_for_another_one(error, expected, monkeypatch):
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(device, "read_status", fail)
    with pytest.raises(expected):
        device.main(["status", "--home", "/nowhere"])


def test_options_are_checked_without_a_home_a_bucket_or_an_identity(tmp_path, capsys):
    words = ["run", "--home", str(tmp_path / "home"), "--enrolment", "/run/credentials/none", "--check"]
    assert device.main(words) == 0
    with pytest.raises(BadInput, match="--rate 0: has to be above 0"):
        device.main([*words, "--rate", "0"])
    with pytest.raises(SystemExit, match="2"):
        device.main([*words, "--of-another-version", "1"])
    assert not (tmp_path / "home").exists()
