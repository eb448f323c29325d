"""Try a device's judgement. Innocent: faults of camera, disk, power, clock, server and load at random moments of an
update; none may condemn the release, and all must end with it running. Guilty: each kind of bad release; none may run,
and the fleet must see the true reason.

    python -m edge.judgement.campaign innocent 200 [kind ...]     (from tests/) what became of each kind, and failures
    python -m edge.judgement.campaign guilty 50 [kind ...]

Every trial is a real agent as a process, with a real repository on a real S3 server behind a forwarder. It needs root,
for disks of their own, and a C compiler, for wrong clocks.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edge.robot_process import Robot
from guilty_releases import HEAVY, LIGHT, LIVE
from ota_server import OtaServer
from tiny_release import make_members

from sim2edge.bus import Bus
from sim2edge.edge.bundle import write_bundle
from sim2edge.push.run import read_bundle
from sim2edge.services.seaweedfs import start_seaweedfs

PARALLEL = 3
DAY_S = 86_400
GUILTY = {**LIGHT, **HEAVY, **LIVE}
PUBLISHING = threading.Lock()
PATIENCE_S = 180.0
"""Time for the release to run once the fault is over; a camera that hangs is given 120 s by the agent itself."""
REFUSAL_S = 600.0
"""Time for a refusal: an endless self-test takes twice 30 s of processor time, at the lowest priority."""


# The situations: each begins with the ring naming a new release, and ends with its cause gone.

Situation = Callable[[Robot, random.Random], None]
SITUATIONS: dict[str, Situation] = {}


def situation(make: Situation) -> Situation:
    """Register a situation under its name."""
    SITUATIONS[make.__name__] = make
    return make


def wait(chance: random.Random, longest_s: float) -> None:
    """Wait for a random time."""
    time.sleep(chance.uniform(0, longest_s))


@situation
def camera_missing(robot: Robot, chance: random.Random) -> None:
    robot.camera.rename(robot.folder / "unplugged")
    wait(chance, 12)
    (robot.folder / "unplugged").rename(robot.camera)


@situation
def camera_gives_broken_frames(robot: Robot, chance: random.Random) -> None:
    for frame in robot.camera.iterdir():
        frame.write_bytes(frame.read_bytes()[: chance.randrange(200)])
    wait(chance, 12)
    robot.fill_camera()


@situation
def camera_hangs(robot: Robot, chance: random.Random) -> None:
    pipes = sorted(robot.camera.iterdir())
    for frame in pipes:
        frame.unlink()
        os.mkfifo(frame)
    wait(chance, 20)
    for pipe in pipes:
        with contextlib.suppress(OSError):
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    robot.fill_camera()


@situation
def camera_is_slow(robot: Robot, chance: random.Random) -> None:
    robot.cut_power()
    robot.rate = chance.choice([0.3, 0.5, 1.0])
    robot.start()
    wait(chance, 10)
    robot.cut_power()
    robot.rate = 20.0
    robot.start()


@situation
def power_cuts(robot: Robot, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 6)):
        wait(chance, 4)
        robot.cut_power()
        wait(chance, 1)
        robot.start()


@situation
def agent_restarts(robot: Robot, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        wait(chance, 4)
        robot.signal(signal.SIGTERM, robot.processes()[:1])
        with contextlib.suppress(subprocess.TimeoutExpired):
            robot.process.wait(20)
        robot.cut_power()
        robot.start()


@situation
def machine_pauses(robot: Robot, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        wait(chance, 3)
        held = robot.processes()
        robot.signal(signal.SIGSTOP, held)
        wait(chance, 30)
        robot.signal(signal.SIGCONT, held)


@situation
def disk_full(robot: Robot, chance: random.Random) -> None:
    wait(chance, 3)
    with contextlib.suppress(OSError), (robot.home.parent / "fill").open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    wait(chance, 10)
    (robot.home.parent / "fill").unlink()


@situation
def disk_read_only(robot: Robot, chance: random.Random) -> None:
    wait(chance, 3)
    subprocess.run(["mount", "-o", "remount,ro", robot.home.parent], check=False, stderr=subprocess.DEVNULL)
    wait(chance, 10)
    if chance.random() < 0.5:
        robot.cut_power()
        robot.start()
        wait(chance, 5)
    subprocess.run(["mount", "-o", "remount,rw", robot.home.parent], check=False)


@situation
def clock_of_1970(robot: Robot, chance: random.Random) -> None:
    robot.set_clock(-chance.randint(15_000, 20_000) * DAY_S)
    robot.cut_power()
    robot.start()
    wait(chance, 10)
    robot.set_clock(0)


@situation
def clock_jumps(robot: Robot, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        robot.set_clock(chance.choice((-1, 1)) * chance.choice((400 * DAY_S, 3 * 3600, 40)))
        wait(chance, 4)
    robot.set_clock(0)


@situation
def server_gone(robot: Robot, chance: random.Random) -> None:
    wait(chance, 2)
    robot.network.close()
    wait(chance, 30)
    robot.network.open()


@situation
def server_cuts_connections(robot: Robot, chance: random.Random) -> None:
    end = time.monotonic() + chance.uniform(2, 10)
    while time.monotonic() < end:
        wait(chance, 0.2)
        robot.network.cut()


@situation
def machine_busy(robot: Robot, chance: random.Random) -> None:
    spin = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(chance.randint(4, 12))]
    wait(chance, 20)
    for each in spin:
        each.kill()
        each.wait()


@situation
def old_detector_hangs(robot: Robot, chance: random.Random) -> None:
    wait(chance, 1)
    robot.signal(signal.SIGSTOP, robot.detectors()[:1])
    wait(chance, 10)


@situation
def old_detector_stutters(robot: Robot, chance: random.Random) -> None:
    end = time.monotonic() + chance.uniform(2, 10)
    while time.monotonic() < end:
        held = robot.detectors()[:1]
        robot.signal(signal.SIGSTOP, held)
        wait(chance, 1)
        robot.signal(signal.SIGCONT, held)
        wait(chance, 0.3)


@situation
def detectors_killed_for_memory(robot: Robot, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        wait(chance, 3)
        robot.signal(signal.SIGKILL, robot.detectors()[-1:])


@situation
def ring_moves_to_and_fro(robot: Robot, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        wait(chance, 3)
        robot.server.publish(chance.choice(["r1", "r2", "r3"]), ring=robot.ring)
    robot.server.publish("r2", ring=robot.ring)


@situation
def slot_rots(robot: Robot, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        wait(chance, 3)
        files = [path for path in (robot.home / "slots").rglob("*") if path.is_file()]
        if not files:
            continue
        victim = chance.choice(files)
        with contextlib.suppress(OSError):
            data = bytearray(victim.read_bytes())
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            victim.write_bytes(data)


@dataclass(frozen=True)
class Outcome:
    """What became of one trial."""

    kinds: tuple[str, ...]
    seed: int
    condemned: str
    """The reason of a ban; empty: none."""
    runs: bool
    seconds: float


def have_faults(robot: Robot, kinds: tuple[str, ...], chance: random.Random, wait_s: float) -> None:
    """Wait, then have the faults of these kinds, one after the other."""
    time.sleep(max(wait_s, 0))
    for kind in kinds:
        SITUATIONS[kind](robot, chance)


def try_one(server: OtaServer, environment: dict[str, str], kinds: tuple[str, ...], seed: int) -> Outcome:
    """Run one robot through an update with the faults of these kinds, one after the other."""
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="judgement-"))
    robot = Robot(folder, server, environment, f"{seed:x}")
    try:
        with PUBLISHING:
            server.publish("r1", ring=robot.ring)
        robot.start()
        if not robot.until_running("r1", PATIENCE_S):
            raise RuntimeError(f"r1 never ran: {folder}")
        before_s = chance.uniform(-4, 4)
        faults = threading.Thread(target=have_faults, args=(robot, kinds, chance, before_s))
        faults.start()
        time.sleep(max(-before_s, 0))
        with PUBLISHING:
            server.publish("r2", ring=robot.ring)
        faults.join()
        start = time.monotonic()
        runs = robot.until_running("r2", PATIENCE_S)
        failure = robot.status().get("failure")
        outcome = Outcome(kinds, seed, failure["reason"] if failure else "", runs, time.monotonic() - start)
    finally:
        robot.end()
    if outcome.runs and not outcome.condemned:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"FAILED {outcome} {folder}", flush=True)
    return outcome


def choose(chance: random.Random, kinds: list[str]) -> tuple[str, ...]:
    """Return the kinds of one trial: mostly one, sometimes two one after the other."""
    return tuple(chance.sample(kinds, 2 if len(kinds) > 1 and chance.random() < 0.25 else 1))


def try_guilty(server: OtaServer, environment: dict[str, str], kind: str, seed: int) -> bool:
    """Offer a robot a guilty release; return whether it was refused with its true reason while the good one ran."""
    make, reason = GUILTY[kind]
    folder = Path(tempfile.mkdtemp(prefix="judgement-"))
    robot = Robot(folder, server, environment, f"g{seed}")
    try:
        with PUBLISHING:
            server.publish("r1", ring=robot.ring)
        robot.start()
        ran = robot.until_running("r1", PATIENCE_S)
        with PUBLISHING:
            publish(server, f"bad-{seed}", robot.ring, make())
        end, told = time.monotonic() + REFUSAL_S, ""
        while ran and time.monotonic() < end and not re.search(reason, told):
            time.sleep(0.2)
            status = robot.status()
            told = f"{status.get('message')} | {(status.get('failure') or {}).get('reason')}"
        right = bool(re.search(reason, told)) and robot.until_running("r1", PATIENCE_S, failures=True)
    finally:
        robot.end()
    print(f"{'ok    ' if right else 'FAILED'} {kind:22} {told[:200]}", flush=True)
    if right:
        shutil.rmtree(folder, ignore_errors=True)
    return right


def publish(server: OtaServer, release: str, ring: str, members: dict[str, bytes]) -> None:
    """Point a ring at a bundle as it is; the checks of the stage that makes one are left out."""
    members["release.json"] = json.dumps(json.loads(members["release.json"]) | {"release": release}).encode()
    path = server.folder / f"{release}.tar"
    write_bundle(path, members)
    server.repository.publish(ring, read_bundle(path))


@contextlib.contextmanager
def world() -> Iterator[tuple[OtaServer, dict[str, str]]]:
    """A repository on a real S3 server, and the environment that leads to it."""
    with start_seaweedfs(Path(tempfile.mkdtemp(prefix="judgement-s3-"))) as s3:
        os.environ.update(s3.environment())
        folder = Path(tempfile.mkdtemp(prefix="judgement-ota-"))
        yield OtaServer(Bus.from_environment(), folder, make_members), s3.environment()


def innocent(count: int, kinds: list[str]) -> bool:
    """Run so many innocent trials and print what became of each kind; return whether all went well."""
    chance = random.Random(count)
    plans = [
        (kinds[index % len(kinds)],) if index < 2 * len(kinds) else choose(chance, kinds) for index in range(count)
    ]
    with world() as (server, environment), ThreadPoolExecutor(PARALLEL) as pool:
        outcomes = list(pool.map(lambda plan: try_one(server, environment, plan[1], plan[0]), enumerate(plans)))
    for kind in kinds:
        mine = [outcome for outcome in outcomes if kind in outcome.kinds]
        waits = sorted(outcome.seconds for outcome in mine) or [0.0]
        condemned, ran = sum(bool(outcome.condemned) for outcome in mine), sum(outcome.runs for outcome in mine)
        median_s = waits[len(waits) // 2]
        print(f"{kind:30} {len(mine):4} trials {condemned:3} condemned {ran:4} run, {median_s:5.1f} s median")
    bad = [outcome for outcome in outcomes if outcome.condemned or not outcome.runs]
    print(f"{len(outcomes)} trials, {sum(bool(each.condemned) for each in outcomes)} condemned, {len(bad)} failed")
    return not bad


def guilty(count: int, names: list[str]) -> bool:
    """Offer so many guilty releases; return whether all were refused rightly."""
    kinds = [names[index % len(names)] for index in range(count)]
    with world() as (server, environment), ThreadPoolExecutor(PARALLEL) as pool:
        right = list(pool.map(lambda plan: try_guilty(server, environment, plan[1], plan[0]), enumerate(kinds)))
    print(f"{count} guilty releases, {sum(right)} refused with the true reason")
    return all(right)


if __name__ == "__main__":
    mode, trials, *names = sys.argv[1:]
    if mode == "guilty":
        sys.exit(not guilty(int(trials), names or list(GUILTY)))
    sys.exit(not innocent(int(trials), names or list(SITUATIONS)))
