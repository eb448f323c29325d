"""`sim2edge webots`: check that capture works with this machine's Webots, and that it agrees with MuJoCo.

    sim2edge webots selftest                    print the Webots found; compare one world, two seconds, with MuJoCo
    sim2edge webots selftest --keep out lidar_3d.enabled=false
    sim2edge webots world --output out --batch b --index 7      an episode's world as a folder, to open in Webots

Exit codes of selftest: 0 everything agrees; 2 no usable Webots; 3 a check failed.
"""

import argparse
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sim2edge.capture.camera_capture import prepare_environment
from sim2edge.capture.config import CaptureConfig
from sim2edge.config import load
from sim2edge.errors import BadInput

if TYPE_CHECKING:
    from sim2edge.capture.webots.installed import Webots

EXIT_REFUSED = 3
SECONDS = 2.0
PROBLEM = re.compile(r"\b(warning|error)\b", re.IGNORECASE)
"""Words with which Webots reports what it changed in a world or could not do."""
HARMLESS = re.compile(r"minimal requirements|OpenGL|GPU|driver|OpenAL|XDG_|Forced termination", re.IGNORECASE)
"""Messages of Webots about a machine without a graphics card and loudspeakers."""


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge webots ...` and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="sim2edge webots", description="Check and debug capture in Webots (docs/webots.md)."
    )
    verbs = parser.add_subparsers(required=True, metavar="command")
    verb = verbs.add_parser("selftest", help="capture two seconds and compare with MuJoCo")
    verb.add_argument("--keep", type=Path, metavar="FOLDER", help="keep all files of the run in this new folder")
    verb.set_defaults(run=selftest, batch="selftest")
    verb = verbs.add_parser("world", help="write an episode's world as a folder")
    verb.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a new folder")
    verb.add_argument("--batch", default="selftest", help="the episode's batch")
    verb.set_defaults(run=write_world)
    for verb in verbs.choices.values():
        verb.add_argument("--index", type=int, default=0, help="the episode's index in its batch")
        verb.add_argument("--preset", help="a file of conf/, without .yaml")
        verb.add_argument("override", nargs="*", metavar="key=value", help="see: sim2edge config capture")
    arguments = parser.parse_args(argv)
    prepare_environment("ray")
    code: int = arguments.run(arguments)
    return code


def write_world(arguments: argparse.Namespace) -> int:
    """Write the folder of one episode and return the exit code."""
    from sim2edge.capture.room_simulator import draw_episode
    from sim2edge.capture.webots.project import write_project

    config = load(CaptureConfig, "capture", arguments.preset, arguments.override)
    spec, _ = draw_episode(config, arguments.batch, arguments.index)
    _check_new(arguments.output)
    print(write_project(arguments.output.resolve(), spec, config).world)
    return 0


def selftest(arguments: argparse.Namespace) -> int:
    """Check whether this machine's Webots and MuJoCo agree, and return the exit code."""
    from sim2edge.capture.webots.installed import find_webots

    if arguments.keep:
        _check_new(arguments.keep)
    webots = find_webots()
    print(f"Webots {webots.version}: {webots.program}, display: {webots.virtual_display or 'that of this session'}")
    wanted = [f"episode_seconds={SECONDS}", "lidar_3d.enabled=true", *arguments.override]
    config = load(CaptureConfig, "capture", arguments.preset, wanted)
    with tempfile.TemporaryDirectory(prefix="webots-") as own:
        passed = [_tell(line, good) for line, good in run_selftest(config, arguments.index, Path(own), webots)]
        if arguments.keep:
            shutil.copytree(Path(own) / "project", arguments.keep)
            print(f"kept: {arguments.keep}")
    print(f"{sum(passed)} of {len(passed)} checks passed")
    return 0 if all(passed) else EXIT_REFUSED


def run_selftest(config: CaptureConfig, index: int, own: Path, webots: "Webots") -> Iterator[tuple[str, bool]]:
    """Capture an episode in Webots, compare it, and yield a line per check, and whether it passed."""
    from sim2edge.capture.room_simulator import draw_episode
    from sim2edge.capture.webots.launch import Patience, console_lines, read_outcome, run_project
    from sim2edge.capture.webots.observing import read_observed
    from sim2edge.capture.webots.parity import motion_checks, see, sensor_checks
    from sim2edge.capture.webots.project import write_project

    spec, _ = draw_episode(config, "selftest", index)
    project = write_project(own / "project", spec, config, observations=True)
    run_project(project, webots, spec.episode_id, Patience())
    result = read_outcome(project).result
    yield f"ok      episode {spec.episode_id}: {result.frames} frames, {result.path_length_m:g} m", True
    errors = [line for line in console_lines(project) if PROBLEM.search(line) and not HARMLESS.search(line)]
    yield f"{'FAILED' if errors else 'ok    '}  console: errors: {errors[:3] or 'none'}", not errors
    observed = read_observed(project.observations)
    poses = [view.pose for view in observed.views]
    for check in sensor_checks(see(spec, config, observed.views)):
        yield check.line(), check.passed
    for check in motion_checks(spec, config, poses, observed.commands, observed.advances):
        yield check.line(), check.passed


def _tell(line: str, passed: bool) -> bool:
    print(line, flush=True)
    return passed


def _check_new(folder: Path) -> None:
    if folder.exists():
        raise BadInput(f"{folder} exists already; name a new folder")
