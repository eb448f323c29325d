"""Measure an installation by RAUC and by our device: the same release files, in turns: time, memory, kills in between.

    apt-get install rauc squashfs-tools dbus && python -m benchmarks rauc

RAUC writes a squashfs of the files to the raw slot that is not active and then makes that slot the primary one. Our
device downloads its bundle over HTTP, checks it, unpacks it into the free slot and puts that slot on trial. Needs root:
RAUC mounts its bundle. docs/device-vs-rauc.md explains the comparison.
"""

import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rauc_system import TOOLS, RaucSystem
from benchmarks.results import Result
from benchmarks.workplace import RING, Workplace

ROUNDS = 5
KILLS = int(os.environ.get("KILLS", "30"))
PATIENCE_S = 60.0
OURS = f"""
import resource, sys, time
from pathlib import Path
from sim2edge.bus import Bus
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.storage.slots import Slots
start = time.perf_counter()
slots = Slots(Path(sys.argv[1]))
slots.roots.provision(Path(sys.argv[2]))
OtaUpdater(Bus.from_environment(), "{RING}", slots).update()
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
"""The program that installs; it imports nothing but what a device needs."""


@dataclass(frozen=True)
class Installed:
    """One installation."""

    seconds: float
    process_s: float
    """From the start of its process to its end."""
    memory_mb: float
    """Most that it had resident."""


def measure(place: Workplace) -> Iterator[Result]:
    """Yield milliseconds and megabytes of an installation, and how many of those that were killed did harm."""
    if os.geteuid() or not all(map(shutil.which, TOOLS)):
        print("rauc: needs root, rauc, squashfs-tools and dbus: skipped", file=sys.stderr)
        return
    place.stage("push")
    root = place.keys / "root.json"
    home = place.new_folder("device")
    finish(start_in(home, root), home)
    release = next(path for path in (home / "slots").iterdir() if path.is_dir() and any(path.iterdir()))
    with RaucSystem(place.new_folder("rauc"), release) as rauc:
        yield from compare(rauc, lambda: start_ours(place, root), root, release)


def compare(
    rauc: RaucSystem, start: Callable[[], tuple[subprocess.Popen[str], Path]], root: Path, release: Path
) -> Iterator[Result]:
    """Yield the results of both."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(finish(*start()))
        seconds, memory = rauc.install()
        theirs.append(Installed(seconds, seconds, memory))
    size = sum(path.stat().st_size for path in release.iterdir())
    for name, unit, read in (
        ("rauc.install", "ms", lambda each: 1000 * each.seconds),
        ("rauc.install_process", "ms", lambda each: 1000 * each.process_s),
        ("rauc.memory", "MB", lambda each: each.memory_mb),
    ):
        values = [statistics.median(map(read, several)) for several in (ours, theirs)]
        yield Result(name, values[0], unit, "rauc install", values[1], note=f"files of {size / 1e6:.2f} MB")
    rng = random.Random(1)
    end_s, work_s = (
        statistics.median(values) for values in zip(*((e.process_s, e.seconds) for e in ours), strict=True)
    )
    bad = [kill_ours(start, root, release, rng.uniform(end_s - work_s, end_s)) for _ in range(KILLS)]
    end_s = statistics.median(each.seconds for each in theirs)
    peer = [rauc.kill(rng.uniform(0, end_s)) for _ in range(KILLS)]
    for name, found in (("harmed", "harmed"), ("stuck", "stuck")):
        counts = [float(sum(each == found for each in several)) for several in (bad, peer)]
        note = {"harmed": "no whole active release afterwards", "stuck": "the next installation failed"}[found]
        yield Result(f"rauc.kills_{name}", counts[0], f"of {KILLS}", "rauc install", counts[1], note=note)


def start_ours(place: Workplace, root: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a first update of a new device in a process of its own."""
    home = place.new_folder("device")
    return start_in(home, root), home


def start_in(home: Path, root: Path) -> subprocess.Popen[str]:
    """Start an update of the device in a home."""
    return subprocess.Popen([sys.executable, "-c", OURS, str(home), str(root)], stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], home: Path) -> Installed:
    """Wait for an update.

    Raises:
        RuntimeError: it failed.
    """
    start = time.perf_counter()
    output, _ = process.communicate(timeout=PATIENCE_S)
    if process.returncode:
        raise RuntimeError(f"the update of {home} failed")
    seconds, memory = map(float, output.split())
    return Installed(seconds, time.perf_counter() - start, memory)


def kill_ours(
    start: Callable[[], tuple[subprocess.Popen[str], Path]], root: Path, release: Path, after_s: float
) -> str:
    """Kill an update after some seconds, and try again; `harmed`, `stuck` or empty."""
    process, home = start()
    with suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    process.kill()
    process.communicate()
    try:
        finish(start_in(home, root), home)
    except RuntimeError:
        return "stuck"
    wanted = {path.name: path.read_bytes() for path in release.iterdir()}
    slots = [path for path in (home / "slots").iterdir() if path.is_dir()]
    whole = any({path.name: path.read_bytes() for path in slot.iterdir()} == wanted for slot in slots)
    return "" if whole else "harmed"
