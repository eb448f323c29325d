"""Damage files of a device at random, while its agent runs and while it is off; measure how soon a verified release
detects, and how soon every file is whole again.

    python -m edge.storage.damage_campaign 100 [seed]       (from tests/, as root) figures, and every failure

Every trial is a real agent as a process, with a real repository on a real S3 server; it begins with the same home, in
which both slots hold a proven release.
"""

import random
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edge.judgement.campaign import world
from edge.robot_process import Robot
from edge.storage.test_damage import DAMAGES

from sim2edge.edge.storage.slots import Slots
from sim2edge.edge.storage.state_file import NAMES, decode

PATIENCE_S = 60.0
SETTLE_S = 3.0
"""Time in which a running agent has all of its files open that it will open."""
VOLATILE = {"status.json", "lock", "starts"}
"""Files that differ from run to run."""


@dataclass(frozen=True)
class Trial:
    """One damage, and what came of it."""

    what: str
    running_s: float
    """Seconds from the start, or from the damage, to a verified release that detects; infinite: never."""
    whole_s: float
    """Seconds until all files were whole."""


def main(words: list[str]) -> int:
    """Run so many trials and print their figures; return 0 if all went well."""
    count, seed = int(words[0]), int(words[1]) if len(words) > 1 else 1
    chance = random.Random(seed)
    with world() as (server, environment):
        robot = Robot(Path(tempfile.mkdtemp(prefix="damage-")), server, environment, "d")
        try:
            good = prepare(robot)
            trials = [try_one(robot, good, chance) for _ in range(count)]
        finally:
            robot.end()
    for name in ("off", "running"):
        mine = [each for each in trials if each.what.startswith(name)]
        for figure in ("running_s", "whole_s") if mine else ():
            values = sorted(getattr(each, figure) for each in mine)
            middle, most = statistics.median(values), values[-1]
            print(f"{name:8} {figure:10} {len(mine):4} trials, median {middle:.1f}, most {most:.1f}")
    failed = [each for each in trials if each.running_s > 10 or each.whole_s > PATIENCE_S]
    print(f"{len(trials)} trials, {len(failed)} failed")
    return bool(failed)


def prepare(robot: Robot) -> Path:
    """Bring a robot to r2 with r1 beside it; return a copy of its home as it was when it was switched off."""
    server = robot.server
    server.publish("r1", ring="other")
    for release in ("r1", "r2"):
        server.publish(release, ring=robot.ring)
        if not robot.process:
            robot.start()
        if not robot.until_running(release, PATIENCE_S):
            raise SystemExit(f"{release} does not run: {robot.folder}")
    time.sleep(SETTLE_S)
    robot.cut_power()
    good = robot.folder / "good"
    shutil.copytree(robot.home, good, symlinks=True)
    return good


def try_one(robot: Robot, good: Path, chance: random.Random) -> Trial:
    """Restore the home, damage one thing of it, and measure."""
    robot.cut_power()
    shutil.rmtree(robot.home, ignore_errors=True)
    shutil.copytree(good, robot.home, symlinks=True)
    robot.server.bus.delete([f"fleet/{robot.ring}/status.json"])
    runs = chance.random() < 0.5
    if runs:
        robot.start()
        if not robot.until_running("r2", PATIENCE_S):
            return report(Trial("running: did not begin", float("inf"), float("inf")))
        time.sleep(SETTLE_S)
    path, damage = choose(robot.home, chance)
    what = f"{'running' if runs else 'off'}: {damage} {path.relative_to(robot.home)}"
    DAMAGES[damage](path)
    if not runs:
        robot.start()
    start = time.monotonic()
    detects = until(lambda: bool(robot.status().get("inferences")) and bool(robot.detectors()))
    whole = until(lambda: not find_damage(robot.home, good))
    elapsed = time.monotonic() - start
    return report(Trial(what, detects, elapsed if whole < float("inf") else whole))


def choose(home: Path, chance: random.Random) -> tuple[Path, str]:
    """Return a file or folder of the home, and a kind of damage."""
    files = sorted(path for path in home.rglob("*") if path.is_file() and path.name not in VOLATILE)
    folders = [home / name for name in ("slots", "slots/a", "slots/b", "roots", "metadata") if (home / name).is_dir()]
    if chance.random() < 0.1:
        return chance.choice(folders), chance.choice(["missing", "pipe", "loop"])
    kinds = sorted(set(DAMAGES) - {"unreadable"})  # modes do not bind root
    return chance.choice(files), chance.choice(kinds)


def find_damage(home: Path, good: Path) -> str:
    """Return what is not whole; empty: all is. A slot may be sealed by newer metadata, which is verified."""
    for path in sorted(good.rglob("*")):
        name = path.relative_to(good)
        found = home / name
        if path.is_dir() or name.name in VOLATILE or "staging" in name.parts:
            continue
        if found.is_symlink() or not found.is_file() or not found.stat().st_size:
            return f"{name} is missing"
        if name.parts[0] not in ("slots", "roots", "metadata") or name.suffix == ".seal":
            continue
        if found.stat().st_size != path.stat().st_size or found.read_bytes() != path.read_bytes():
            return f"{name} differs"
    try:
        for name in NAMES:
            decode((home / name).read_bytes())
    except Exception as error:
        return f"{name}: {error}"
    slots = Slots(home)
    return " ".join(filter(None, (slots.verify(slot) for slot in slots.state.slots)))


def until(condition, patience_s: float = PATIENCE_S) -> float:  # type: ignore[no-untyped-def]
    """Return the seconds until a condition holds; infinite: it does not."""
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < patience_s:
        if condition():
            return elapsed
        time.sleep(0.1)
    return float("inf")


def report(trial: Trial) -> Trial:
    """Print a trial."""
    print(f"{trial.what:60} running after {trial.running_s:5.1f} s, whole after {trial.whole_s:5.1f} s", flush=True)
    return trial


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
