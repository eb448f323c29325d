"""What an episode's folder holds, read back with other libraries than wrote it."""

import csv
import json
import math
import resource
import signal
from collections import defaultdict

import cv2
import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.episode import failure_reason, path_length
from sim2edge.capture.labels import Box
from sim2edge.capture.recorder import Recorder
from sim2edge.capture.simulator import Command
from sim2edge.capture.specs import EpisodeSpec, Pose

SCHEMAS = {
    "/camera/image": "foxglove.CompressedImage",
    "/camera/annotations": "foxglove.ImageAnnotations",
    "/lidar/scan": "foxglove.LaserScan",
    "/robot/pose": "foxglove.PoseInFrame",
    "/robot/control": "sim2edge.Control",
    "/labels": "sim2edge.Labels",
}


@pytest.fixture(scope="module")
def episode(batch):
    return batch[2] / "once.0000"


@pytest.fixture(scope="module")
def log(episode):
    """Topic to (log time, decoded message)."""
    messages = defaultdict(list)
    with (episode / "simulation.mcap").open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for schema, channel, message in reader.iter_messages():
            assert schema.name == SCHEMAS[channel.topic]
            decoded = (
                json.loads(message.data)
                if channel.message_encoding == "json"
                else DecoderFactory().decoder_for("protobuf", schema)(message.data)
            )
            messages[channel.topic].append((message.log_time, decoded))
    return messages


def test_every_topic_has_a_message_a_tick_at_10_hz(log):
    assert set(log) == set(SCHEMAS)
    for messages in log.values():
        assert [time for time, _ in messages] == [tick * 100_000_000 for tick in range(15)]


def test_the_metadata_names_the_episode(episode):
    with (episode / "simulation.mcap").open("rb") as file:
        (metadata,) = make_reader(file).iter_metadata()
    result = json.loads((episode / "result.json").read_text())
    names = ("episode_id", "seed", "simulator", "camera_backend")
    assert metadata.name == "episode"
    assert metadata.metadata == {name: result[name] for name in names}


def test_images_decode_and_annotations_match_the_labels(log):
    for (_, image), (_, labels), (_, drawn) in zip(
        log["/camera/image"], log["/labels"], log["/camera/annotations"], strict=True
    ):
        assert cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR).shape == (48, 64, 3)
        assert len(drawn.points) == len(labels["boxes"])
        for box in labels["boxes"]:
            assert 0 <= box["x_min"] < box["x_max"] <= 64
            assert 0 <= box["y_min"] < box["y_max"] <= 48
            assert box["distance_m"] >= 0
            assert abs(box["bearing_rad"]) <= math.pi


def test_the_csv_agrees_with_the_scans(episode, log):
    with (episode / "lidar.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header[:2] == ["time_s", "r000"]
    for row, (time, scan) in zip(rows, log["/lidar/scan"], strict=True):
        assert float(row[0]) == time / 1e9
        assert np.array(row[1:], float) == pytest.approx(np.array(scan.ranges), abs=1e-4)
    scan = log["/lidar/scan"][0][1]
    assert scan.start_angle == pytest.approx(-math.pi)
    assert scan.end_angle == pytest.approx(math.pi - math.radians(1))


def test_the_config_file_is_enough_to_make_the_episode_again(episode):
    content = yaml.safe_load((episode / "config.yaml").read_text())
    assert EpisodeSpec.model_validate(content["episode"]).episode_id == "once.0000"
    assert CaptureConfig.model_validate(content["config"]).camera.width == 64
    assert content["camera_backend"] == "ray"


def test_the_result_says_how_it_went(episode, log):
    result = json.loads((episode / "result.json").read_text())
    assert result["frames"] == 15
    assert result["duration_s"] == 1.5
    assert result["floor"] == log["/labels"][0][1]["floor"]
    assert (result["success"], result["failure_reason"]) in [(True, ""), (False, "stuck")]
    assert len(result["seed"]) == 32


@pytest.mark.parametrize(
    ("touched", "length", "reason"), [(False, 1.0, ""), (False, 0.1, "stuck"), (True, 3.0, "collision")]
)
def test_why_an_episode_failed(touched, length, reason):
    assert failure_reason(touched, length, cruised_m=4.0) == reason


def test_the_way_is_measured_along_the_poses():
    assert path_length([Pose(0, 0, 0), Pose(3, 4, 1), Pose(3, 5, 2)]) == 6
    assert path_length([]) == 0


@pytest.fixture
def small_disk():
    """No file of this process can grow beyond 1 MiB."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, handler)


def record_noise(folder, spec, config) -> None:
    """About 10 MB of log."""
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    box = Box(label="box", instance=0, x_min=1, y_min=1, x_max=9, y_max=9, distance_m=1, bearing_rad=0)
    with Recorder(folder, spec, config, "mujoco", "ray") as recorder:
        for _ in range(200):
            recorder.write(noise, np.ones(360), Pose(0, 0, 0), Command(0, 0), [box])


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_an_error_and_not_a_short_file(tmp_path, small, room_with):
    with pytest.raises(OSError, match="File too large"):
        record_noise(tmp_path / "episode", room_with(), small)
