"""A virtual Pi: the real device under systemd on arm64, a hardware watchdog, and power cuts in an update.

    make test-pi CUTS=200 BOOTS=2 SEED=7

One machine is updated while qemu logs every write and flush of its home disk. A power cut after any of them leaves the
writes before the last flush, and any part of the later ones: CUTS such disks are made at random, and on each the
device's real agent has to find a whole release at once and to arrive at the new one. BOOTS of them are started as
machines of their own. In the same log a program writes files without a flush: if it survived every cut, the cuts would
prove nothing, and the test fails.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ota_server import OtaServer
from tiny_release import make_members

from sim2edge.errors import Missing

from .cut_disk import bad_writer_survived, open_disk, whole_releases
from .image import CHECKOUT, System, build
from .machine import Machine
from .units import FRAMES, credentials, system_files
from .write_log import WriteLog, cut, read_log

TOOLS = ("qemu-system-aarch64", "mmdebstrap", "depmod", "cpio", "mke2fs", "debugfs")
pytestmark = [
    pytest.mark.timeout(6 * 3600),
    pytest.mark.skipif("CUTS" not in os.environ, reason="`make test-pi` runs it"),
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="qemu is not installed: ci/pi.sh installs it"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for the owners of the system's files"),
]

OLD, NEW = "1" * 16, "2" * 16
CUTS, BOOTS = int(os.environ.get("CUTS", "20")), int(os.environ.get("BOOTS", "1"))
SEED = os.environ.get("SEED") or f"{time.time_ns() % 10**6}"
OPTIONS = "--trial-inferences 5\n--trial-seconds 600\n"
"""The emulated machine is slow."""

GUEST_S, HOST_S = 1800.0, 120.0
"""Longest wait for a release, on the emulated machine and on this one."""


@dataclass(frozen=True)
class Recorded:
    """An update of a machine, as its disk saw it."""

    system: System
    log: WriteLog
    begin: int
    """Entries before the update."""
    boot_s: float
    update_s: float
    watchdog_s: float


def reports(server: OtaServer, name: str, release: str) -> bool:
    """Return whether a device says that it runs a release, beyond its trial."""
    with contextlib.suppress(Missing, ValueError):
        status = json.loads(server.bus.get(f"fleet/{name}/status.json"))
        status = status.get("signed", status)
        return bool(status["release"] == release and status["state"] == "running")
    return False


def wait(condition: Callable[[], bool], patience_s: float, about: str) -> float:
    """Wait for a condition; the seconds it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + patience_s, f"not within {patience_s:g} s: {about}"
        time.sleep(0.2)
    return time.monotonic() - start


@contextlib.contextmanager
def journal_of(pi: Machine) -> Iterator[None]:
    """Add the machine's journal to an error."""
    try:
        yield
    except AssertionError as error:
        error.add_note(pi.run("systemctl status --no-pager sim2edge; journalctl -b --no-pager | tail -n 120")[1])
        raise


@pytest.fixture(scope="module")
def recorded(server: OtaServer, frames: Path, s3_server, tmp_path_factory) -> Recorded:
    """Update a machine once, then crash its kernel: the watchdog has to bring it back."""
    folder = tmp_path_factory.mktemp("pi")
    kept = CHECKOUT / "build/pi"
    kept.mkdir(parents=True, exist_ok=True)
    server.publish(OLD)
    port = int(s3_server.endpoint.rpartition(":")[2])
    (folder / "bus.env").write_bytes(credentials(s3_server.environment(), port))
    words = f"--id pi --root {server.keys.root_file} --env-file {folder / 'bus.env'} --source {FRAMES}".split()
    system = build(kept, system_files(frames), [*words, "--rate", 4, "--interval", 5, "--no-start"], OPTIONS)
    home = folder / "home.img"
    shutil.copyfile(system.home, home)
    with Machine(system, folder, home) as pi:
        pi.wait_for_shell()
        with journal_of(pi):
            wait(lambda: reports(server, "pi", OLD), GUEST_S, "first release")
            boot_s, begin = pi.age_s, len(read_log(pi.log).writes)
            server.publish(NEW)
            update_s = wait(lambda: reports(server, "pi", NEW), GUEST_S, "update")
        log = read_log(pi.log)
        shutil.copyfile(pi.log, folder / "update.log")
        server.bus.delete(["fleet/pi/status.json"])
        pi.tell("echo c >/proc/sysrq-trigger")
        watchdog_s = wait(lambda: reports(server, "pi", NEW), GUEST_S, f"return from a crash; {pi.console}")
    return Recorded(system, WriteLog(folder / "update.log", log.writes), begin, boot_s, update_s, watchdog_s)


@pytest.fixture
def images(recorded: Recorded, tmp_path: Path) -> Callable[[random.Random], tuple[int, Path]]:
    """Makes the disk after a cut at a random moment of the update."""

    def make(rng: random.Random) -> tuple[int, Path]:
        at = rng.randint(recorded.begin, len(recorded.log.writes))
        cut(recorded.log, recorded.system.home, tmp_path / "cut.img", at, rng)
        return at, tmp_path / "cut.img"

    return make


def converges(server: OtaServer, home: Path, name: str, frames: Path) -> float:
    """Run the real agent on a home until it runs the new release; the seconds it took."""
    words = f"device run --id {name} --ring canary --rate 50 --interval 0.5 --trial-inferences 10 --home {home}".split()
    command = [sys.executable, "-m", "sim2edge", *words, "--source", str(frames)]
    log = home.with_suffix(".log")
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as agent:
        try:
            return wait(lambda: agent.poll() is not None or reports(server, name, NEW), HOST_S, log.read_text())
        finally:
            assert agent.poll() is None, log.read_text()
            agent.terminate()


def test_no_power_cut_in_an_update_harms_a_device(
    recorded: Recorded, images, server: OtaServer, frames: Path, tmp_path: Path, capsys
) -> None:
    rng = random.Random(SEED)
    releases = [make_members(release=release) for release in (OLD, NEW)]
    lost, harmed, took_s = 0, [], []
    start = time.monotonic()
    for number in range(CUTS):
        at, image = images(rng)
        try:
            files = open_disk(image, tmp_path / f"files-{number}")
            lost += not bad_writer_survived(files)
            assert whole_releases(files / "device", releases), "no slot holds a whole release"
            took_s.append(converges(server, files / "device", f"cut-{number}", frames))
            shutil.rmtree(files)
        except (AssertionError, RuntimeError) as error:
            harmed.append(f"cut {number} after write {at}: {error}")
    each_s = (time.monotonic() - start) / CUTS
    with capsys.disabled():
        print(
            f"\nseed {SEED}: boot to the first release {recorded.boot_s:.0f} s, update {recorded.update_s:.0f} s, ",
            end="",
        )
        print(f"back from a crashed kernel {recorded.watchdog_s:.0f} s; {each_s:.1f} s a cut")
        writes = recorded.log.writes[recorded.begin :]
        print(f"{len(writes)} writes and flushes in the update, {sum(write.flush for write in writes)} of them flushes")
        print(f"{CUTS} cuts: device harmed in {len(harmed)}, the writer without flush in {lost}")
    assert not harmed, "\n".join(harmed)
    assert lost, "the writer without flush survived every cut: these cuts prove nothing"


@pytest.mark.parametrize("number", range(BOOTS))
def test_a_machine_starts_from_a_disk_after_a_cut(number: int, recorded: Recorded, images, server, tmp_path) -> None:
    _, image = images(random.Random(f"{SEED}-{number}"))
    server.bus.delete(["fleet/pi/status.json"])
    with Machine(recorded.system, tmp_path, image) as pi:
        wait(lambda: reports(server, "pi", NEW), GUEST_S, f"start after a cut; {pi.console}")
