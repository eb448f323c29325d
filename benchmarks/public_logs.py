"""Ingest public logs of ROS users, and print the table of docs/public-logs.md.

    git clone --mirror https://github.com/<owner>/<name> <folder>/<owner>+<name>     # each repository of LOGS
    .venvs/stages/bin/python benchmarks/public_logs.py <folder> --keep <folder for episodes>

Logs are not kept, and the bus is in memory.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from obstore.store import MemoryStore

from sim2edge.bus import Bus
from sim2edge.config import load
from sim2edge.errors import BadInput
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.deliver import deliver_folder
from sim2edge.plan import plan
from sim2edge.runner import execute

ARUCO = "fiducial_slam/test"
LOGS = (
    (
        "UbiquityRobotics/fiducials",
        "fiducial_slam/test/aruco_images.bag",
        "topics.image=/raspicam_node/image/compressed",
    ),
    ("UbiquityRobotics/fiducials", "fiducial_slam/test/aruco_images.bag", ""),
    ("rosbag-sharing-community/amber", "tests/rosbag/soccer_goal/soccer_goal_12.mcap", ""),
    ("klintan/rosbag2.js", "examples/sample.db3", "topics.image=/image/compressed"),
    ("klintan/rosbag2.js", "examples/sample.db3", "topics.image=/image"),
    ("Ravenshard/CS412T1D4", "data.bag", ""),
    ("fjam100/ROSDetectCircles", "robot_bag.bag", ""),
    ("facontidavide/PlotJuggler", "datasamples/tilt_laser.bag", ""),
    ("facontidavide/PlotJuggler", "datasamples/rosbag2_test/rosbag2_test_0.db3", "topics.pose=/pose"),
    ("sail-il/Sail-il2022", "run_with_video_1.bag", "topics.pose=/odometry/filtered"),
    ("yushayusha/jetacker-communication", "rosbags/bag_20260324_194455/bag_20260324_194455_0.db3", ""),
    ("shohei/my_mobile_robot", "data.bag", ""),
    ("foxglove/rosbag", "fixtures/example-lz4.bag", ""),
    ("Tiryoh/rosbag-analyzer-web", "e2e/fixtures/test_sample.mcap.zstd", ""),
    ("Tiryoh/rosbag-analyzer-web", "e2e/fixtures/test_truncated.bag", ""),
    ("Tiryoh/rosbag-analyzer-web", "e2e/fixtures/test_unindexed.bag", ""),
    ("drmwnrafi/babyros", "test.bag", ""),
)
"""Repository, file, settings."""


class Quiet:
    """A progress that says nothing."""

    def update(self, done: int, total: int, **metrics: float | int | str) -> None:
        """Ignore how far it is."""

    def log(self, message: str, **fields: object) -> None:
        """Ignore what is said."""


def ingest(repositories: Path, repository: str, file: str, words: list[str], keep: Path | None) -> str:
    """Ingest one file of a repository's newest commit, and say in one line what came out."""
    git = ["git", "-C", str(repositories / repository.replace("/", "+")), "show", f"HEAD:{file}"]
    with tempfile.TemporaryDirectory() as scratch:
        folder, name = Path(scratch) / "logs", Path(file).name
        folder.mkdir()
        (folder / name).write_bytes(subprocess.run(git, check=True, capture_output=True).stdout)
        bus = Bus(MemoryStore())
        try:
            deliver_folder(bus, "public", folder, load(IngestConfig, "ingest", None, words), Quiet())
            manifest = execute(bus, plan(bus, "ingest", partition="public", overrides=words), Quiet())
        except BadInput as refused:
            return f"refused: {refused}"
        episode = bus.fetch(manifest, Path(scratch) / "out").folder
        if keep:
            shutil.copytree(episode, keep / f"{repository.replace('/', '+')}+{name}", dirs_exist_ok=True)
        summary = manifest.summary
        return f"taken: {summary['frames']} ticks, dropped {summary['ticks_dropped'] or 'none'}"


def main() -> int:
    """Print a row for each log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repositories", type=Path, help="folder of git directories named <owner>+<name>")
    parser.add_argument("--keep", type=Path, help="folder for the episodes of the logs that are taken, to look at")
    arguments = parser.parse_args()
    print("| repository | file | settings | result |\n|---|---|---|---|")
    for repository, file, text in LOGS:
        result = ingest(arguments.repositories, repository, file, text.split(), arguments.keep)
        cells = (repository, f"`{file}`", f"`{text}`" if text else "", result.replace("|", "\\|"))
        print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
