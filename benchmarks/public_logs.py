"""Ingest public logs of ROS users, and print the table of docs/public-logs.md.

    git clone --mirror https://github.com/<owner>/<name> <folder>/<owner>+<name>     # each repository of LOGS
    .venvs/stages/bin/python benchmarks/public_logs.py <folder> --keep <folder for episodes>

Logs are not kept, and the bus is in memory.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap.writer import Writer
from obstore.store import MemoryStore
from rosbags.typesys import Stores, get_typestore

from sim2edge.bus import Bus
from sim2edge.config import load
from sim2edge.errors import BadInput
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.datasets.convert import as_logs
from sim2edge.ingest.deliver import deliver_folder
from sim2edge.ingest.ros1_bag import read_ros1_bag
from sim2edge.ingest.ros_types import CDR, ROS1, ROS1_MSG, ROS2_MSG, known_definition
from sim2edge.ingest.sqlite_bag import read_sqlite
from sim2edge.plan import plan
from sim2edge.runner import execute

IMAGE = "sensor_msgs/msg/CompressedImage"
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
    ("sail-il/Sail-il2022", "run_with_video_1.bag", "topics.pose=/odometry/filtered"),
    ("facontidavide/PlotJuggler", "datasamples/rosbag2_test/rosbag2_test_0.db3", "topics.pose=/pose"),
    ("foxglove/rosbag", "fixtures/example-lz4.bag", ""),
    ("Tiryoh/rosbag-analyzer-web", "e2e/fixtures/test_sample.mcap.zstd", ""),
    ("Tiryoh/rosbag-analyzer-web", "e2e/fixtures/test_truncated.bag", ""),
    ("Tiryoh/rosbag-analyzer-web", "e2e/fixtures/test_unindexed.bag", ""),
    ("drmwnrafi/babyros", "test.bag", ""),
)
"""Repository, file, settings."""

JETACKER = "rosbags/bag_20260324_194455/bag_20260324_194455_0.db3"
WITH_CAMERA = (
    ("Ravenshard/CS412T1D4", "data.bag", ""),
    ("fjam100/ROSDetectCircles", "robot_bag.bag", ""),
    ("fjam100/ROSDetectCircles", "data.bag", ""),
    ("shohei/my_mobile_robot", "data.bag", ""),
    ("facontidavide/PlotJuggler", "datasamples/tilt_laser.bag", "topics.command=/velocity"),
    ("facontidavide/PlotJuggler", "datasamples/tilt_laser.bag", "topics.command=/velocity frames.base=tilt_base"),
    ("spiderkiller13/obstacle_detector", "resources/scans_demo.bag", "topics.scan=/front_scan"),
    ("spiderkiller13/obstacle_detector", "rosbag/test.bag", "topics.scan=/zed/scan_merged"),
    ("sail-il/Sail-il2022", "run_with_video_1.bag", "topics.pose=/odometry/filtered"),
    ("yushayusha/jetacker-communication", JETACKER, ""),
    ("foxglove/rosbag", "fixtures/example-lz4.bag", "topics.command=/turtle1/cmd_vel"),
)
"""Logs without images, which get a camera of ours beside their own messages: 10 pictures a second of noise."""

SCALE = ("dataset.full_speed_m_s=2", "wheelbase_m=0.26")
"""Of all tubs: what a throttle of 1 stands for, and a car of 1:10; no tub says it."""
APPLE = "crates/store/re_importer/tests/assets/lerobot/v30_apple_storage"
DATASETS = (
    ("KimGarden/Car", ".", "", "a running track at dusk, walls, parked cars"),
    ("JustinWit/csc3520-autonomous-rc-car", "data", "", "a white floor with lines of tape, under neon light"),
    ("tdchen03/mycar", "data", "", "a lane of white tape among office chairs"),
    ("CUAutonomousRacing/CUAR-DonkeyCar", "TrainingData/tub_01", "", "a hall with boxes, people; blurred by motion"),
    ("ToeKnee121/eDonkeys", "Data", "", "asphalt before a building, the car's bumper; first drive: a desk"),
    ("pi-test/mycar", "data/tub_5_24-04-23", "", "a printed road, black and turquoise, in a hall"),
    ("smanhuang/mycar", "data/tub_34_24-04-23", "", "white lines on stone in the same hall"),
    (
        "ArthurDelannoyazerty/DonkeyCarEseo2022",
        "mycar/data",
        "",
        "black and white masks, as recorded; a green hall",
    ),
    ("SigsFig/donkey-car", "data", "", "a mat with orange lines in a yard, the car's bumper"),
    ("slevin48/donkeycar", "mycar/data", "", ""),
    ("slevin48/donkeycar", "mycar/data", "skip_bad=true", "the simulator: a road with cones, grass, sky"),
    ("fpineau-sigma/donkeycar-mycar", "data", "", ""),
    (
        "fpineau-sigma/donkeycar-mycar",
        "data",
        "skip_bad=true",
        "a mat with orange lines indoors; pink throughout, as recorded",
    ),
    ("cl3m3nt/mycar4", "data", "", ""),
    ("cl3m3nt/mycar4", "data", "skip_bad=true", "a parquet floor lined with paper cups"),
    ("skamo3/TempSeaMe", "mycar/data", "", ""),
    ("skamo3/TempSeaMe", "mycar/data", "skip_bad=true", ""),
    ("smanhuang/mycar", "data/tub_19_24-04-23", "", ""),
    ("GuptaOum/selfdriving-campus-cart", "mycar/data", "", ""),
    ("SamueleSandrini/record-test", ".", "dataset.image=observation.images.front", ""),
    ("yipiandanxinxiangyangkai/open_50", ".", "", ""),
    ("YifanTian07/G1-policy-train", ".", "", ""),
    ("rerun-io/rerun", APPLE, "dataset.linear=16 dataset.angular=18", ""),
)
"""Tubs and LeRobot datasets: repository, folder, settings, what the pictures show."""


def add_camera(log: Path) -> Path:
    """Convert a bag to MCAP, with every message as it is and a camera beside them; return the new file."""
    read = read_sqlite(log) if log.suffix == ".db3" else read_ros1_bag(log.open("rb"), log.stat().st_size)
    found, path = list(read), log.with_suffix(".mcap")
    store, random = get_typestore(Stores.ROS2_HUMBLE), np.random.default_rng(0)
    image, header, time = (store.types[name] for name in (IMAGE, "std_msgs/msg/Header", "builtin_interfaces/msg/Time"))
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        channels: dict[int, int] = {}
        for schema, channel, message in found:
            if schema is not None and channel.id not in channels:
                number = writer.register_schema(schema.name, schema.encoding, schema.data)
                encoding = ROS1 if schema.encoding == ROS1_MSG else channel.message_encoding
                channels[channel.id] = writer.register_channel(channel.topic, encoding, number)
            writer.add_message(channels[channel.id], message.log_time, message.data, message.publish_time)
        camera = writer.register_schema(IMAGE, ROS2_MSG, known_definition(IMAGE))
        pictures = writer.register_channel("/camera/image_raw/compressed", CDR, camera)
        times = [message.log_time for _, _, message in found]
        for time_ns in range(min(times), max(times), 100_000_000):
            noise = cv2.imencode(".jpg", random.integers(0, 255, (48, 64, 3), np.uint8))[1]
            stamp = time(sec=time_ns // 10**9, nanosec=time_ns % 10**9)
            content = image(header=header(stamp=stamp, frame_id="camera"), format="jpeg", data=noise.ravel())
            writer.add_message(pictures, time_ns, bytes(store.serialize_cdr(content, IMAGE)), time_ns)
        writer.finish()
    log.unlink()
    return path


class Quiet:
    """A progress that says nothing."""

    def update(self, done: int, total: int, **metrics: float | int | str) -> None:
        """Ignore how far it is."""

    def log(self, message: str, **fields: object) -> None:
        """Ignore what is said."""


def ingest(repositories: Path, repository: str, file: str, words: list[str], keep: Path | None, camera: bool) -> str:
    """Ingest one file of a repository's newest commit, and say in one line what came out."""
    git = ["git", "-C", str(repositories / repository.replace("/", "+")), "show", f"HEAD:{file}"]
    with tempfile.TemporaryDirectory() as scratch:
        folder, name = Path(scratch) / "logs", Path(file).name
        folder.mkdir()
        (folder / name).write_bytes(subprocess.run(git, check=True, capture_output=True).stdout)
        if camera:
            add_camera(folder / name)
        try:
            summary, (log,) = deliver(
                folder, Path(scratch), words, keep and keep / f"{repository.replace('/', '+')}+{name}"
            )
        except BadInput as refused:
            return f"refused: {refused}"
        farthest = ", ".join(f"{role} {ms:g}" for role, ms in log["farthest_ms"].items())
        seen = "" if log["returns"] is None else f", {log['returns']:.0%} of beams return"
        mounted = f", scanner: {log['mounting']}" if log["mounting"] else ""
        dropped = summary["ticks_dropped"] or "none"
        return f"taken: {summary['frames']} ticks, dropped {dropped}; farthest ms: {farthest}{seen}{mounted}"


def deliver(folder: Path, scratch: Path, words: list[str], keep: Path | None) -> tuple[dict[str, Any], list[Any]]:
    """Deliver a folder to a bus in memory and ingest it; return the batch's summary and the report of each log."""
    bus, config = Bus(MemoryStore()), load(IngestConfig, "ingest", None, words)
    with as_logs(folder, config, Quiet()) as logs:
        deliver_folder(bus, "public", logs, config, Quiet())
    manifest = execute(bus, plan(bus, "ingest", partition="public", overrides=words), Quiet())
    made = bus.fetch(manifest, scratch / "out").folder
    if keep:
        shutil.copytree(made, keep, dirs_exist_ok=True)
    return dict(manifest.summary), json.loads((made / "ingest_report.json").read_text())["logs"]


def ingest_dataset(repositories: Path, repository: str, folder: str, words: list[str], keep: Path | None) -> str:
    """Ingest a dataset of a repository's newest commit, and say in one line what came out."""
    tree = "HEAD" if folder == "." else f"HEAD:{folder}"
    source = repositories / repository.replace("/", "+")
    git = ["git", "-C", str(source), "archive", tree, ".", ":(exclude)*.mp4"]  # no row gets as far as its videos
    name = f"{repository.replace('/', '+')}+{folder.replace('/', '+')}"
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "dataset"
        root.mkdir()
        packed = subprocess.run(git, check=True, capture_output=True).stdout
        subprocess.run(["tar", "x", "-C", str(root)], input=packed, check=True)
        try:
            summary, _ = deliver(root, Path(scratch), words, keep and keep / name)
        except BadInput as refused:
            return f"refused: {str(refused).removeprefix(f'{root}: ')}"
        bad = "".join(f"; refused: {name}: {why}" for name, why in list(summary["refused"].items())[:1])
        dropped = summary["ticks_dropped"] or "none"
        drives = "1 drive" if summary["episodes"] == 1 else f"{summary['episodes']} drives"
        return f"taken: {drives}, {summary['frames']} ticks, dropped {dropped}{bad}"


def main() -> int:
    """Print a row for each log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repositories", type=Path, help="folder of git directories named <owner>+<name>")
    parser.add_argument("--keep", type=Path, help="folder for the episodes of the logs that are taken, to look at")
    arguments = parser.parse_args()
    for camera, logs in ((False, LOGS), (True, WITH_CAMERA)):
        print("\n| repository | file | settings | result |\n|---|---|---|---|")
        for repository, file, text in logs:
            result = ingest(arguments.repositories, repository, file, text.split(), arguments.keep, camera)
            cells = (repository, f"`{file}`", f"`{text}`" if text else "", result.replace("|", "\\|"))
            print(f"| {' | '.join(cells)} |", flush=True)
    print("\n| repository | folder | settings | result | pictures |\n|---|---|---|---|---|")
    for repository, folder, text, seen in DATASETS:
        words = [*SCALE, *text.split()]
        result = ingest_dataset(arguments.repositories, repository, folder, words, arguments.keep)
        cells = (repository, f"`{folder}`", f"`{text}`" if text else "", result.replace("|", "\\|"), seen)
        print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
