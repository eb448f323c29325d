"""Measure over-the-air updates: a check without news, a first update, and the agent's memory.

The peer is the TUF client of the reference implementation on the same repository, over the same connection.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tuf.ngclient import Updater

from benchmarks.results import Result
from benchmarks.service_process import resident_mb, stop
from benchmarks.timing import take_turns
from benchmarks.workplace import RING, Workplace
from sim2edge.demo.virtual_device import write_unseen_frames
from sim2edge.edge.judgement.trial import Step
from sim2edge.edge.ota_updater import METADATA, TARGETS, OtaUpdater
from sim2edge.edge.server.tuf_fetcher import BusFetcher
from sim2edge.edge.storage.slots import Slots
from sim2edge.processes import spawn

CHECKS = 30
UPDATES = 7
DEADLINE_S = 60.0
BARE_AGENT = "import obstore, psutil, tuf.ngclient; print(psutil.Process().memory_info().rss / 2**20)"


def measure(place: Workplace) -> Iterator[Result]:
    """Yield milliseconds of a check and of a first update, and megabytes of the agent."""
    release = place.stage("push").manifest.summary
    root = (place.keys / "root.json").read_bytes()
    yield measure_check(place, root)
    yield measure_update(place, root, int(release["bundle"]["bytes"]))
    yield measure_agent(place)


def measure_check(place: Workplace, root: bytes) -> Result:
    """Measure a check by a device that has the release already."""
    device = new_device(place)
    if device.update().step is not Step.INSTALL:
        raise RuntimeError("the first check did not install")
    folder = place.new_folder("bare")
    bare_client(place, folder, root).refresh()
    seconds = take_turns({"check": device.update, "bare": lambda: bare_client(place, folder, root).refresh()}, CHECKS)
    millis = {name: 1000 * value for name, value in seconds.items()}
    return Result("ota.check", millis["check"], "ms", "python-tuf refresh()", millis["bare"], note="nothing new")


def measure_update(place: Workplace, root: bytes, size: int) -> Result:
    """Measure an update from an empty device to a release in its slot, on disk, ready for its trial."""
    contestants = {
        "update": lambda: new_device(place).update(),
        "bare": lambda: download_bare(place, root),
    }
    millis = {name: 1000 * value for name, value in take_turns(contestants, UPDATES).items()}
    note = f"first update, bundle of {size / 1e6:.2f} MB: download, verify, flush, unpack"
    return Result("ota.update", millis["update"], "ms", "python-tuf download", millis["bare"], note=note)


def new_device(place: Workplace) -> OtaUpdater:
    """Return the updater of a device without any release."""
    slots = Slots(place.new_folder("device"))
    slots.roots.provision(place.keys / "root.json")
    return OtaUpdater(place.bus, RING, slots)


def bare_client(place: Workplace, folder: Path, root: bytes) -> Updater:
    """Return the reference client, with its metadata and downloads in `folder`."""
    return Updater(str(folder), METADATA, str(folder), TARGETS, BusFetcher(place.bus), bootstrap=root)


def download_bare(place: Workplace, root: bytes) -> None:
    """Download the ring's bundle with the reference client."""
    client = bare_client(place, place.new_folder("bare"), root)
    target = client.get_targetinfo(str(place.stage("push").manifest.summary["bundle"]["path"]))
    if target is None:
        raise RuntimeError("the bundle is not among the targets")
    client.download_target(target)


def measure_agent(place: Workplace) -> Result:
    """Measure the agent's resident memory, without its detector, once its first release has passed its trial."""
    home, camera = place.new_folder("agent"), place.new_folder("camera")
    write_unseen_frames(place.bus, place.stage("augment").manifest.reference, camera)
    command = [sys.executable, "-m", "sim2edge", "device", "run", "--id", "bench", "--ring", RING, "--home", str(home)]
    command += ["--root", str(place.keys / "root.json"), "--source", str(camera), "--rate", "20", "--interval", "1"]
    start = time.monotonic()
    process = spawn(command, place.environment, home, home / "agent.log")
    try:
        wait_until_accepted(home, start + DEADLINE_S)
        seconds = time.monotonic() - start
        memory = resident_mb(process.pid)
    finally:
        stop(process)
    peer = float(subprocess.run([sys.executable, "-c", BARE_AGENT], capture_output=True, text=True, check=True).stdout)
    note = f"resident; from its start to a release that passed its trial {seconds:.1f} s"
    return Result("ota.agent_memory", memory, "MB", "imports of tuf and obstore alone", peer, note=note)


def wait_until_accepted(home: Path, deadline: float) -> None:
    """Wait until the detector runs outside of a trial.

    Raises:
        RuntimeError: it does not in time.
    """
    status = home / "status.json"
    while time.monotonic() < deadline:
        if status.is_file() and json.loads(status.read_bytes())["state"] == "running":
            return
        time.sleep(0.1)
    raise RuntimeError(f"the device did not accept its release: {(home / 'agent.log').read_text()[-500:]}")
