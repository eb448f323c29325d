"""Logs of other producers, through the real command and the real S3 server, to episodes."""

import json
import math
from pathlib import Path

import numpy as np
import yaml
from ingest.conftest import read_ticks
from ingest.foreign_logs import FOXGLOVE_TOPICS, jpeg, ranges, robot_drive, write_bag, write_foxglove

from sim2edge.clean.episode_log import IMAGE, LABELS, POSE, SCAN
from sim2edge.inbox import read_ready


def read_report(folder: Path) -> list[dict]:
    return json.loads((folder / "ingest_report.json").read_text())["logs"]


def test_a_ros_2_bag_becomes_an_episode_on_our_ticks(folder, ingest, fetch, partition, s3):
    bag = write_bag(folder / "monday" / "rosbag2_0.mcap", robot_drive(12))
    manifest, made = fetch(ingest(folder))
    assert manifest.stage == "ingest"
    assert s3.read_ref(f"refs/batches/{partition}").target == manifest.reference
    episode = made / f"{partition}.0000"
    assert sorted(path.name for path in episode.iterdir()) == [
        "config.yaml", "lidar.csv", "result.json", "simulation.mcap"
    ]  # fmt: skip
    result = json.loads((episode / "result.json").read_text())
    assert (result["frames"], result["simulator"], result["duration_s"]) == (12, "ingest", 1.2)
    assert (result["success"], result["failure_reason"]) == (False, "unlabelled")
    source = yaml.safe_load((episode / "config.yaml").read_text())["episode"]["source"]
    assert source["path"] == "monday/rosbag2_0.mcap"
    assert source["bytes"] == bag.stat().st_size
    (log,) = read_report(made)
    assert log["clock"] == "stamps"
    assert log["unstamped"] == ["/cmd_vel"]
    assert not log["labelled"]
    assert {name: topic["role"] for name, topic in log["topics"].items()} == {
        "/camera/image_raw/compressed": "image", "/scan": "scan", "/odom": "pose", "/cmd_vel": "command",
        "/chatter": None,
    }  # fmt: skip
    assert log["farthest_ms"]["scan"] == 10.0


def test_a_foxglove_log_with_labels_becomes_a_success(folder, ingest, fetch, partition):
    write_foxglove(folder / "farm.mcap")
    manifest, made = fetch(ingest(folder, *FOXGLOVE_TOPICS))
    assert manifest.summary["successes"] == manifest.summary["labelled"] == 1
    assert manifest.summary["boxes"]["chair"] == 12
    ticks = read_ticks(made / f"{partition}.0000")
    assert [time for time, _ in ticks[IMAGE]] == [tick * 100_000_000 for tick in range(12)]
    assert json.loads(ticks[LABELS][3][1])["floor"] == "tile"


def test_a_jpeg_stays_byte_for_byte_and_a_pose_is_the_nearest(folder, ingest, fetch, partition):
    write_bag(folder / "a.mcap", robot_drive(5))
    _, made = fetch(ingest(folder))
    from mcap.reader import make_reader
    from mcap_protobuf.decoder import DecoderFactory

    with (made / f"{partition}.0000" / "simulation.mcap").open("rb") as file:
        decoded = list(
            make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages([IMAGE, POSE, SCAN])
        )
    images = [m.decoded_message.data for m in decoded if m.channel.topic == IMAGE]
    assert images == [jpeg(tick) for tick in range(5)]
    poses = [m.decoded_message.pose.position.x for m in decoded if m.channel.topic == POSE]
    np.testing.assert_allclose(poses, [0.1 * tick for tick in range(5)])
    scan = next(m.decoded_message for m in decoded if m.channel.topic == SCAN)
    assert len(scan.ranges) == 360
    np.testing.assert_allclose(scan.ranges[::2], ranges(0), rtol=1e-6)
    assert math.isclose(scan.start_angle, -math.pi)


def test_the_inbox_holds_the_files_and_twice_is_a_hit(folder, ingest, s3, partition):
    write_bag(folder / "a.mcap", robot_drive())
    first, second, alone = ingest(folder), ingest(folder), ingest()
    assert [run.committed["cached"] for run in (first, second, alone)] == [False, True, True]
    assert len({run.committed["reference"] for run in (first, second, alone)}) == 1
    _, ready = read_ready(s3, partition)
    assert [file.path for file in ready.files] == ["a.mcap"]
    assert s3.get(ready.key(ready.files[0])) == (folder / "a.mcap").read_bytes()
    assert any("not used: /chatter" in line for line in second.lines)
