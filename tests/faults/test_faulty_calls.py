"""A real device whose system calls fail with EIO, ENOSPC, EROFS, one by one: it never ends, infers on, and converges.

SIM2EDGE_FAULTS=all tries every call with every error, a number so many, inject=fsync:error=EIO:when=3+ that one.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from ota_server import OtaServer
from tiny_release import make_members

from sim2edge.bus import Bus
from sim2edge.errors import Missing

from .faulty_calls import Calls, Fault, agent_of, choose, count_injected, end, faults, read_trace, record, start_faulty

OLD, NEW = "1" * 16, "2" * 16
PATIENCE_S = 90.0
SETTLE_S = 4.0
"""How long a lasting fault is kept up."""
SOME = 40
TRACE = """\
7 openat(AT_FDCWD</x>, "/home/a.part", O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0644) = 3</home/a.part>
7 openat(AT_FDCWD</x>, "/home/b", O_RDONLY|O_CLOEXEC) = 3</home/b>
7 openat(AT_FDCWD</x>, "/home/b", O_WRONLY|O_CLOEXEC) = 3</home/b>
7 write(3</home/a.part>, ""..., 12) = 12
8 write(3</home/a.part>, ""..., 12) = 12
7 write(2</dev/pts/0>, ""..., 12) = 12
7 fsync(3</home/a.part>) = 0
7 rename("/home/a.part", "/home/a") = 0
7 +++ exited with 0 +++
"""


def test_a_trace_names_the_calls_that_change_the_home() -> None:
    calls = read_trace(TRACE.splitlines(), Path("/home"))
    assert calls == Calls(
        {"openat": 1, "write": 1, "fsync": 1, "rename": 1}, 5, ["/home/a", "/home/a.part"], ["/home/a.part"]
    )


def test_chosen_faults_have_every_call_and_every_error() -> None:
    every = list(faults(Calls({"fsync": 30, "write": 60, "mkdir": 1}, 91, [], [])))
    assert len(every) == 91 * 6
    chosen = choose(every, 40)
    assert {fault.call for fault in chosen} == {"fsync", "write", "mkdir"}
    assert {fault.error for fault in chosen} == {"EIO", "ENOSPC", "EROFS"}
    assert {fault.lasting for fault in chosen} == {True, False}


class World:
    """A server with two releases, and the home of a device that runs the first."""

    def __init__(self, server: OtaServer, folder: Path, frames: Path) -> None:
        self.server, self.folder, self.frames = server, folder, frames
        self.template, self.home = folder / "template", folder / "home"

    def command(self, name: str) -> list[str]:
        """The command line of a device of this name in the home."""
        words = (
            f"device run --id {name} --ring canary --rate 50 --interval 0.5 --trial-inferences 10 --home {self.home}"
        )
        files = ["--root", str(self.server.keys.root_file), "--source", str(self.frames)]
        return [sys.executable, "-m", "sim2edge", *words.split(), *files]

    def fresh_home(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self.template, self.home, symlinks=True)

    def runs(self, name: str, release: str) -> bool:
        """Whether the fleet was told that the device runs a release, beyond its trial."""
        with contextlib.suppress(Missing, ValueError):
            status = json.loads(self.server.bus.get(f"fleet/{name}/status.json"))
            status = status.get("signed", status)
            return bool(status["release"] == release and status["state"] == "running")
        return False

    def wait(self, condition: Callable[[], bool], patience_s: float, process: subprocess.Popen[bytes]) -> bool:
        """Whether the condition is met in time and while the process runs."""
        deadline = time.monotonic() + patience_s
        while not (met := condition()) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        return met


@pytest.fixture(scope="module")
def world(s3_server, tmp_path_factory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    frames = folder / "frames"
    frames.mkdir()
    for index in range(3):
        cv2.imwrite(str(frames / f"{index}.jpg"), np.full((32, 32, 3), 80 * index, np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment().items():
            patch.setenv(name, value)
        bus = Bus.from_environment()
        bus.delete(bus.list(""))
        world = World(OtaServer(bus, folder / "server", make_members), folder, frames)
        world.server.publish(OLD)
        with subprocess.Popen(world.command("first")) as process:
            assert world.wait(lambda: world.runs("first", OLD), PATIENCE_S, process)
            end(process)
        world.home.rename(world.template)
        world.server.publish(NEW)
        yield world
        bus.delete(bus.list(""))


def frames_read(process: subprocess.Popen[bytes]) -> int:
    """Bytes that the children of the agent have read so far: frames, above all."""
    read = 0
    with contextlib.suppress(psutil.Error):
        for child in agent_of(process).children():
            with contextlib.suppress(psutil.Error):
                read += child.io_counters().read_chars
    return read


def infers(process: subprocess.Popen[bytes]) -> bool:
    """Whether the detector reads frames, within some seconds: it may just be restarting."""
    deadline = time.monotonic() + PATIENCE_S / 2
    while time.monotonic() < deadline:
        before = frames_read(process)
        time.sleep(0.5)
        if before and frames_read(process) > before:
            return True
    return False


def try_fault(world: World, name: str, calls: Calls, fault: Fault) -> str:
    """Run a device with a fault; what went wrong, empty if nothing did."""
    world.fresh_home()
    log = world.folder / f"{name}.strace"
    process = start_faulty(world.command(name), calls, fault, log)
    try:
        if fault.lasting:
            world.wait(lambda: count_injected(log) > 0, PATIENCE_S / 2, process)
            world.wait(lambda: False, SETTLE_S, process)
            converged = False
        else:
            converged = world.wait(lambda: world.runs(name, NEW), PATIENCE_S, process)
        if process.poll() is not None:
            return f"ended with code {process.poll()}"
        if not infers(process):
            return "no inference"
    finally:
        end(process)
    if not count_injected(log):
        return "" if converged else "never reached"
    if converged:
        return ""
    with (
        (world.folder / f"{name}.out").open("ab") as out,
        subprocess.Popen(world.command(name), stdout=out, stderr=out) as clean,
    ):
        try:
            converged = world.wait(lambda: world.runs(name, NEW), PATIENCE_S, clean)
            return "" if converged else f"does not converge after a restart (exit code {clean.poll()})"
        finally:
            end(clean)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: ci/servers.sh installs it")
def test_no_failing_call_ends_a_device_or_keeps_it_from_the_new_release(world: World, capsys) -> None:
    world.fresh_home()

    def arrived() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not world.runs("recorded", NEW):
            assert time.monotonic() < deadline, "the device without a fault does not update"
            time.sleep(0.1)

    calls = record(world.command("recorded"), world.home, world.folder / "trace", arrived)
    every = list(faults(calls))
    wanted = os.environ.get("SIM2EDGE_FAULTS", str(SOME))
    chosen = [fault for fault in every if wanted in ("all", fault.words)] or choose(every, int(wanted))
    failed = {}
    for number, fault in enumerate(chosen):
        if problem := try_fault(world, f"case-{number}", calls, fault):
            failed[fault.words] = f"{problem} ({world.folder}/case-{number}.out)"
            with capsys.disabled():
                print(f"\n{fault.words}: {failed[fault.words]}", end="")
    with capsys.disabled():
        print(f"\n{calls.total} calls change the home in an update: {dict(calls.counts)}")
        print(f"{len(chosen)} of {len(every)} faults tried, {len(chosen) - len(failed)} survived")
    assert not failed
