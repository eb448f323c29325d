"""The stack of S3 alone, through its commands: start, look, stop, and every way to be killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sim2edge import cli
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Unavailable
from sim2edge.services.loopback import is_taken
from sim2edge.stack.client import Stack
from sim2edge.stack.commands import main
from sim2edge.stack.credentials import load_credentials
from sim2edge.stack.lifecycle import Phase
from sim2edge.stack.settings import StackSettings
from sim2edge.stack.state import owner, state_path

Run = Callable[..., int]


@pytest.fixture
def run(stack: Stack, settings: StackSettings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `sim2edge <verb> ...` on the stack of this test."""
    monkeypatch.setenv("SIM2EDGE_HOME", str(settings.home))
    monkeypatch.setenv("SIM2EDGE_S3_PORT", str(settings.s3_port))
    return lambda *words: main([*words, *(["--only", "s3"] if words[0] == "up" else [])])


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def connect(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Bus:
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    return Bus.from_environment()


def test_a_day_with_the_stack(
    run: Run, stack: Stack, settings: StackSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("down") == 0
    assert "nothing was running" in capsys.readouterr().out
    assert run("status") == 1

    assert run("up") == 0
    said = capsys.readouterr().out
    assert f"http://127.0.0.1:{settings.s3_port}" in said
    assert stack.logins()["s3"].password in said
    guardian = owner(settings.home)

    assert run("up") == 0
    assert "already running" in capsys.readouterr().out
    assert owner(settings.home) == guardian

    assert run("status") == 0
    said = capsys.readouterr().out
    assert "healthy" in said
    assert f"http://127.0.0.1:{settings.s3_port}" in said
    assert stack.logins()["s3"].password not in said

    state_path(settings.home).write_text("{ damaged")
    assert run("status") == 1
    assert "damaged" in capsys.readouterr().out
    assert run("down") == 0
    assert not stack.running()

    secret = stack.logins()["s3"].password
    for log in (settings.home / "logs").iterdir():
        assert secret not in log.read_text(), log
    for file in settings.home.rglob("*"):
        if file.is_file() and secret in file.read_bytes().decode(errors="replace"):
            assert file.stat().st_mode & 0o077 == 0, file


def test_a_taken_port_stops_the_start_before_it_begins(run: Run, stack: Stack, settings: StackSettings) -> None:
    with (
        socket.create_server(("127.0.0.1", settings.s3_port)),
        pytest.raises(BadInput, match=r"S3 server.*is taken by"),
    ):
        run("up")
    assert not stack.running()


def test_killed_storage_comes_back_with_its_data(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.start()
    bus = connect(stack, monkeypatch)
    bus.put("kept.bin", b"precious" * 100_000)
    (before,) = stack.services()
    assert before.process
    os.kill(before.process.pid, signal.SIGKILL)
    wait_until(lambda: stack.services()[0].restarts == 1 and stack.services()[0].phase is Phase.HEALTHY)
    assert bus.get("kept.bin") == b"precious" * 100_000


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["supervisor", "guardian"])
def test_whoever_is_killed_nothing_is_left(
    stack: Stack, settings: StackSettings, left_behind: Callable[[Path], list[object]], victim: str
) -> None:
    stack.start()
    state = stack.state()
    process = state.supervisor if state and victim == "supervisor" else owner(settings.home)
    assert process
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not stack.running() and not left_behind(settings.home))
    assert stack.state() is None  # what it wrote last is not believed


def test_roles_are_made_for_an_older_folder_and_changed_while_it_runs(
    stack: Stack, settings: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = load_credentials(settings.home)  # all that a folder had before there were roles
    assert not settings.roles.exists()
    stack.start()
    assert stack.environment()["AWS_ACCESS_KEY_ID"] == older.s3_access_key
    connect(stack, monkeypatch).put("ota/metadata/timestamp.json", b"signed")

    def reads(role: str) -> bool:
        for name, value in stack.role(role).items():
            monkeypatch.setenv(name, value)
        try:
            return Bus.from_environment().get("ota/metadata/timestamp.json") == b"signed"
        except BadInput:
            return False

    monkeypatch.setenv("SIM2EDGE_HOME", str(settings.home))
    assert reads("device-virtual-pi-1")
    assert not reads("train")
    with pytest.raises(BadInput, match="sim2edge access add device-pi-9"):
        reads("device-pi-9")
    assert cli.main(["access", "add", "device-pi-9"]) == 0
    wait_until(lambda: reads("device-pi-9"))
    before = stack.role("device-pi-9")
    assert cli.main(["access", "rotate", "device-pi-9"]) == 0
    wait_until(lambda: reads("device-pi-9"))
    assert stack.role("device-pi-9")["AWS_ACCESS_KEY_ID"] != before["AWS_ACCESS_KEY_ID"]
    (service,) = stack.services()
    assert service.restarts == 0


# A shell without job control makes its background jobs, and all their children, ignore SIGINT: not so this one.
FOREGROUND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from sim2edge.cli import main
sys.exit(main(["up", "--only", "s3", "--foreground"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_foreground_takes_everything_with_it(
    stack: Stack, settings: StackSettings, left_behind: Callable[[Path], list[object]], number: signal.Signals
) -> None:
    variables = {"SIM2EDGE_HOME": str(settings.home), "SIM2EDGE_S3_PORT": str(settings.s3_port)}
    command = [sys.executable, "-c", FOREGROUND]
    with subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any("Ctrl-C stops everything" in line for line in process.stdout)
        process.send_signal(number)
    wait_until(lambda: not stack.running() and not left_behind(settings.home))


def test_a_service_that_cannot_start_is_told_with_its_log(settings: StackSettings) -> None:
    broken = settings.model_copy(update={"only": ("s3", "mlflow"), "stage_python": Path("/bin/false")})
    stack = Stack(broken)
    with pytest.raises(Unavailable, match=r"did not start: mlflow ended with code 1; .*mlflow\.log"):
        stack.start()
    assert not stack.running()


@pytest.mark.slow
def test_a_state_that_cannot_be_written_does_not_end_the_stack(stack: Stack, settings: StackSettings) -> None:
    stack.start()
    (service,) = stack.services()
    assert service.process
    state_path(settings.home).unlink()
    state_path(settings.home).mkdir()  # replacing it fails from now on, as on a full disk
    os.kill(service.process.pid, signal.SIGKILL)
    wait_until(lambda: not is_taken(settings.s3_port))
    wait_until(lambda: is_taken(settings.s3_port))  # begun anew, which could not be written down
    state_path(settings.home).rmdir()
    wait_until(lambda: bool(stack.services()) and stack.services()[0].phase is Phase.HEALTHY)
    assert stack.services()[0].restarts == 1


@pytest.mark.slow
def test_a_service_whose_files_cannot_be_written_is_tried_again(stack: Stack, settings: StackSettings) -> None:
    stack.start()
    (service,) = stack.services()
    config = settings.home / "s3" / "s3.json"
    config.unlink()
    config.mkdir()
    assert service.process
    os.kill(service.process.pid, signal.SIGKILL)
    wait_until(lambda: "could not be started" in stack.services()[0].detail)
    config.rmdir()
    wait_until(lambda: stack.services()[0].phase is Phase.HEALTHY)
