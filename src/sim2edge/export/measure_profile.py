"""Measure the variants of a release on this device and write them into the profile of its class.

python -m sim2edge.export.measure_profile RELEASE raspberry-pi-4

RELEASE: a release on the bus, or a folder with its `bundle.tar` and `variants/`. Needs the device's dependencies only
(`sim2edge[edge]`), no torch. Run it on the device, otherwise idle, and commit `profiles/raspberry-pi-4.yaml`, which it
writes below `conf/` (or `SIM2EDGE_CONF`). Entries of other networks in that file are kept.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim2edge.bus import Bus
from sim2edge.config import build, resolve
from sim2edge.edge.bundle import RELEASE_FILE, Bundle, unpack_bundle
from sim2edge.edge.detector.camera_source import Image
from sim2edge.edge.obstacle_detector import check_picture
from sim2edge.errors import EXIT_BAD_INPUT, EXIT_RETRY, BadInput, Unavailable
from sim2edge.export.device_profile import DeviceProfile, MeasuredNetwork, profile_path, read_profile
from sim2edge.export.latency import Latency, install_forms, measure_latency

COMMAND = "python -m sim2edge.export.measure_profile"
ROUNDS, CALLS, PICTURES = 100, 20, 16
RUNTIMES = ("ai-edge-litert", "tflite-runtime", "onnxruntime")


def main(words: Sequence[str] | None = None) -> int:
    """Measure, write, and return the exit code: 2 for bad input, 75 when S3 was not reached."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Measure the variants of a release on this device.")
    parser.add_argument("release", help="a release on the bus, or a folder with its bundle.tar and variants/")
    parser.add_argument("device_class", help="class of this device, such as raspberry-pi-4")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the fetched release, to copy to a device")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds in which variants take turns ({ROUNDS})")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtimes (1)")
    arguments = parser.parse_args(words)
    try:
        with tempfile.TemporaryDirectory(prefix="profile-") as folder:
            release = find_release(arguments.release, arguments.keep or Path(folder) / "release")
            print(measure(release, Path(folder), arguments.device_class, arguments.rounds, arguments.threads))
    except (BadInput, Unavailable) as error:
        print(f"{COMMAND}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT if isinstance(error, BadInput) else EXIT_RETRY
    return 0


def find_release(name: str, folder: Path) -> Path:
    """Return the folder of a release: `name` itself, or `folder`, into which the release is fetched.

    Raises:
        BadInput: `name` is neither a folder nor on the bus.
    """
    if Path(name).is_dir():
        return Path(name)
    bus = Bus.from_environment()
    return bus.fetch(bus.open(bus.resolve(name)), folder).folder


def measure(release: Path, work: Path, device_class: str, rounds: int, threads: int) -> Path:
    """Time every variant of the release in folder `release`, and return the profile that was written.

    Raises:
        BadInput: the folder holds no release, this device cannot run it, or its present profile is invalid.
    """
    profile = read_profile(device_class)
    if not (release / "bundle.tar").is_file():
        raise BadInput(f"{release}: has no bundle.tar: not a release")
    bundle = unpack_bundle(release / "bundle.tar", work / "slot")
    network = read_network(bundle)
    slots = work / "slots"
    slots.mkdir()
    detectors = install_forms(bundle, release / "variants", slots, threads)
    if not detectors:
        raise BadInput(f"{release}/variants: holds no form that a device runs")
    height, width = bundle.read_json("signature.json")["input"]["shape"][1:3]
    times = measure_latency(detectors, pictures(height, width), rounds, CALLS)
    return write_profile(add_network(profile, bundle.release.recipe, network, times, describe_machine(threads)))


def read_network(bundle: Bundle) -> dict[str, Any]:
    """Return the numeric arguments of a bundle's network.

    The others, such as the mean image, do not affect latency.

    Raises:
        BadInput: the release is too old to contain these arguments.
    """
    network = json.loads((bundle.folder / RELEASE_FILE).read_bytes()).get("network")
    if not isinstance(network, dict):
        raise BadInput(f"{RELEASE_FILE}: field 'network' is missing: export the model again")
    return {name: value for name, value in network.items() if isinstance(value, int | float)}


def pictures(height: int, width: int) -> Sequence[Image]:
    """Return different pictures [height, width, 3]; their content hardly affects the latency."""
    picture = check_picture(height, width)
    return [np.roll(picture, 5 * number, axis=1) for number in range(PICTURES)]


def describe_machine(threads: int) -> str:
    """Return the conditions of a measurement: date, processor, threads, runtimes, load of the machine, command."""
    found = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}
    runtimes = [f"{name} {found[name]}" for name in RUNTIMES if name in found]
    when = datetime.now(UTC).date().isoformat()
    load = f"load average {os.getloadavg()[0]:.1f}"
    return ", ".join([when, processor(), f"{threads} thread{'s' * (threads > 1)}", *runtimes, load, COMMAND])


def processor() -> str:
    """Return the board's or processor's name and its number of cores."""
    board, cpus = Path("/proc/device-tree/model"), Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    name = board.read_text().strip("\0\n ") if board.is_file() else named or platform.machine()
    return f"{name} ({os.cpu_count()} cores)"


def add_network(
    profile: DeviceProfile, recipe: str, network: Mapping[str, Any], times: Mapping[str, Latency], measured: str
) -> DeviceProfile:
    """Return the profile with the latencies of one network, replacing its former entry."""
    entry = {
        "recipe": recipe,
        "network": network,
        "latency_ms": {name: latency.p50_ms for name, latency in times.items()},
        "measured": measured,
    }
    others = [each for each in profile.networks if (each.recipe, each.network) != (recipe, dict(network))]
    made = build(MeasuredNetwork, entry, profile.device_class)
    return profile.model_copy(update={"networks": [made, *others]})


def write_profile(profile: DeviceProfile) -> Path:
    """Write the profile to its file and return the path."""
    path = profile_path(profile.device_class)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(resolve(profile), sort_keys=False, width=120), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
