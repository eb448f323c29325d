"""What an episode's folder holds, read back with other libraries than wrote it."""

import csv
import dataclasses
import json
import math
import resource
import signal
from collections import defaultdict

import cv2
import numpy as np
import pytest
import yaml
from capture.hand_made import CAMERA, look, make_spec, solid, stand
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

from sim2edge.capture.camera_mount import mount_position
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.episode import failure_reason
from sim2edge.capture.labels import Labeller
from sim2edge.capture.lidar_capture import cloud_directions
from sim2edge.capture.recorder import Recorder
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.capture.tick import Tick
from sim2edge.config import load
from sim2edge.episodes.moment import Command, Pose, path_length
from sim2edge.episodes.result import EpisodeResult

SCHEMAS = {
    "/camera/image": "foxglove.CompressedImage",
    "/camera/annotations": "foxglove.ImageAnnotations",
    "/lidar/scan": "foxglove.LaserScan",
    "/robot/pose": "foxglove.PoseInFrame",
    "/robot/odometry": "foxglove.PoseInFrame",
    "/robot/control": "sim2edge.Control",
    "/imu": "sim2edge.Imu",
    "/labels": "sim2edge.Labels",
    "/truth/boxes": "foxglove.SceneUpdate",
    "/tf": "foxglove.FrameTransforms",
}
"""What has a message a tick."""

ONCE = {"/camera/calibration": "foxglove.CameraCalibration"}
ON_DEMAND = {"/lidar/cloud": "foxglove.PointCloud", "/camera/instances": "foxglove.CompressedImage"}


@pytest.fixture(scope="module")
def episode(batch):
    return batch[2] / "once.0000"


def read_messages(path):
    """Topic to (log time, decoded message), by the reference reader."""
    messages = defaultdict(list)
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()], validate_crcs=True)
        for schema, channel, message in reader.iter_messages():
            assert schema.name == (SCHEMAS | ONCE | ON_DEMAND)[channel.topic]
            decoded = (
                json.loads(message.data)
                if channel.message_encoding == "json"
                else DecoderFactory().decoder_for("protobuf", schema)(message.data)
            )
            messages[channel.topic].append((message.log_time, decoded))
    return messages


@pytest.fixture(scope="module")
def log(episode):
    """The messages of a captured episode."""
    return read_messages(episode / "simulation.mcap")


def test_every_topic_has_a_message_a_tick_at_10_hz(log):
    assert set(log) == {*SCHEMAS, *ONCE}
    for topic in SCHEMAS:
        assert [time for time, _ in log[topic]] == [tick * 100_000_000 for tick in range(15)], topic
    assert [time for time, _ in log["/camera/calibration"]] == [0]


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


def make_tick(index, spec, config, image=None) -> Tick:
    """A moment at the start of `spec` that moves on by a centimetre a tick."""
    view = look(spec, config)
    moved = Pose(spec.start.x_m + 0.01 * index, spec.start.y_m, spec.start.yaw_rad)
    return Tick(
        index=index,
        image=view.image if image is None else image,
        instances=view.instances,
        ranges=view.ranges,
        cloud=view.cloud,
        pose=moved,
        odometry=Pose(0.01 * index, 0, 0),
        command=Command(0.5, 0.2),
        applied=Command(0.4, 0.1),
        labels=Labeller(spec, config).label(view),
        imu=np.tile([0, 0, 0.2, 0, 0, 9.81], (10 if index else 0, 1)),
    )


def how_it_went(**fields):
    """What the recorder cannot know."""
    return {
        "success": True,
        "failure_reason": "",
        "duration_s": 0.3,
        "path_length_m": 0.03,
        "checkpoints_passed": 1,
        "collisions": 0,
        "collided_with": (),
        "time_to_collision_s": None,
        "distance_to_collision_m": None,
        "near_misses": 0,
        "min_clearance_m": 0.5,
    } | fields


START = Pose(0.5, -0.4, 0.6)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Three ticks with everything that can be logged: the spec, the config, the folder, and its messages."""
    overrides = ["camera.masks=true", "camera.images=true", "lidar_3d.enabled=true"]
    config = load(CaptureConfig, "capture", overrides=overrides)
    crate = stand(0, "box", 1.6, 0.3, solid("box", (0.2, 0.2, 0.2), (0, 0, 0.2)), yaw=0.3)
    camera = CAMERA.model_copy(update={"yaw_deg": 2.0, "roll_deg": 1.0, "tilt_deg": 10.0})
    spec = make_spec([crate], START, camera=camera)
    folder = tmp_path_factory.mktemp("full") / "hand.0000"
    with Recorder(folder, spec, config, "mujoco", "ray") as recorder:
        for index in range(3):
            recorder.write(make_tick(index, spec, config))
    recorder.finish(**how_it_went())
    return spec, config, folder, read_messages(folder / "simulation.mcap")


def test_everything_that_is_asked_for_is_logged_each_tick(full):
    log = full[3]
    assert set(log) == {*SCHEMAS, *ONCE, *ON_DEMAND}
    assert {len(messages) for topic, messages in log.items() if topic not in ONCE} == {3}


def test_the_mask_holds_instances_one_up(full):
    spec, config, _, log = full
    mask = cv2.imdecode(np.frombuffer(log["/camera/instances"][1][1].data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask, look(spec, config).instances + 1)


def test_the_cloud_holds_the_returns_as_points(full):
    spec, config, _, log = full
    cloud = log["/lidar/cloud"][0][1]
    points = np.frombuffer(cloud.data, "<f4").reshape(-1, 3)
    assert [field.name for field in cloud.fields] == ["x", "y", "z"]
    assert cloud.point_stride == 12
    distances = look(spec, config).cloud
    returned = np.isfinite(distances)
    expected = cloud_directions(config.lidar_3d)[returned] * distances[returned][:, None]
    assert points == pytest.approx(expected, abs=1e-4)


def test_images_are_the_logged_ones(full):
    _, _, folder, log = full
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names == ["0000.jpg", "0001.jpg", "0002.jpg"]
    assert (folder / "images" / "0001.jpg").read_bytes() == log["/camera/image"][1][1].data


def test_the_command_and_what_the_motors_got_are_told_apart(full):
    control = full[3]["/robot/control"][0][1]
    assert (control["linear_m_s"], control["angular_rad_s"]) == (0.5, 0.2)
    assert (control["applied_linear_m_s"], control["applied_angular_rad_s"]) == (0.4, 0.1)


def test_imu_samples_lead_up_to_their_tick(full):
    (_, start), (_, first), (_, second) = full[3]["/imu"]
    assert start == {"times_s": [], "angular_velocity_rad_s": [], "specific_force_m_s2": []}
    assert first["times_s"] == pytest.approx(np.arange(0.01, 0.101, 0.01))
    assert second["times_s"][-1] == 0.2
    assert second["angular_velocity_rad_s"][9] == [0, 0, 0.2]
    assert second["specific_force_m_s2"][0] == [0, 0, 9.81]


def matrix(transform) -> np.ndarray:
    """A transform or pose as a 4 x 4 matrix."""
    place, q = (
        (transform.translation, transform.rotation)
        if hasattr(transform, "translation")
        else (transform.position, transform.orientation)
    )
    result = np.eye(4)
    result[:3, :3] = [
        [1 - 2 * (q.y**2 + q.z**2), 2 * (q.x * q.y - q.w * q.z), 2 * (q.x * q.z + q.w * q.y)],
        [2 * (q.x * q.y + q.w * q.z), 1 - 2 * (q.x**2 + q.z**2), 2 * (q.y * q.z - q.w * q.x)],
        [2 * (q.x * q.z - q.w * q.y), 2 * (q.y * q.z + q.w * q.x), 1 - 2 * (q.x**2 + q.y**2)],
    ]
    result[:3, 3] = place.x, place.y, place.z
    return result


def test_a_viewer_finds_the_box_in_the_image_by_transforms_and_calibration(full):
    """The crate's 3D box, taken through /tf and /camera/calibration, is where /labels says it is seen."""
    spec, _, _, log = full
    (cube,) = log["/truth/boxes"][0][1].entities[0].cubes
    by_child = {each.child_frame_id: each for each in log["/tf"][0][1].transforms}
    assert (by_child["camera"].parent_frame_id, by_child["robot"].parent_frame_id) == ("robot", "room")
    half = np.array([cube.size.x, cube.size.y, cube.size.z]) / 2
    corners = np.array([(i, j, k, 1) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) * [*half, 1]
    in_robot = corners @ matrix(cube.pose).T
    in_camera = in_robot @ np.linalg.inv(matrix(by_child["camera"])).T
    projection = np.array(log["/camera/calibration"][0][1].P).reshape(3, 4)
    pixels = in_camera @ projection.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    (box,) = log["/labels"][0][1]["boxes"]
    seen = [box["x_min"], box["y_min"], box["x_max"], box["y_max"]]
    assert [*pixels.min(axis=0), *pixels.max(axis=0)] == pytest.approx(seen, abs=1.2)
    in_room = in_robot @ matrix(by_child["robot"]).T
    assert in_room[:, :2].mean(axis=0) == pytest.approx([1.6, 0.3], abs=1e-3)
    assert matrix(by_child["camera"])[:3, 3] == pytest.approx(mount_position(spec.camera))


def test_odometry_starts_where_the_robot_does(full):
    log = full[3]
    by_child = {each.child_frame_id: each for each in log["/tf"][2][1].transforms}
    odometry = log["/robot/odometry"][0][1]
    assert odometry.frame_id == "odom"
    start = matrix(by_child["odom"]) @ matrix(odometry.pose)
    assert start == pytest.approx(matrix(log["/robot/pose"][0][1].pose), abs=1e-9)


def test_labels_carry_the_new_fields(full):
    labels = full[3]["/labels"][0][1]
    assert set(labels) == {"floor", "floor_under", "boxes", "free_m"}
    assert set(labels["boxes"][0]) == {
        *("class", "instance", "x_min", "y_min", "x_max", "y_max", "distance_m", "bearing_rad"),
        *("occlusion", "truncation", "position_m", "size_m", "yaw_rad"),
    }


def test_the_same_ticks_give_the_same_bytes_and_others_another_trace(full, tmp_path):
    spec, config, folder, _ = full
    traces = []
    for name, shift in (("same", 0.0), ("other", 1e-6)):
        with Recorder(tmp_path / name, spec, config, "mujoco", "ray") as recorder:
            for index in range(3):
                tick = make_tick(index, spec, config)
                recorder.write(dataclasses.replace(tick, odometry=Pose(tick.odometry.x_m + shift, 0, 0)))
        traces.append(recorder.finish(**how_it_went()).trace_sha256)
    for file in ("simulation.mcap", "lidar.csv", "config.yaml", "result.json", "images/0002.jpg"):
        assert (tmp_path / "same" / file).read_bytes() == (folder / file).read_bytes()
    assert traces[0] != traces[1]


def test_a_result_survives_its_row_in_a_table(full):
    folder = full[2]
    known = EpisodeResult.model_validate_json((folder / "result.json").read_bytes())
    hit = {"collided_with": ("chair", "wall"), "time_to_collision_s": 1.2, "distance_to_collision_m": 0.7}
    for result in (known, known.model_copy(update=hit)):
        row = {name: "" if value is None else str(value) for name, value in result.cells().items()}
        assert EpisodeResult.model_validate(row) == result
    assert (known.layout, known.driver, known.style, known.checkpoints) == ("rectangle", "expert", "plain_tiles", 1)


def record_noise(folder, spec, config) -> None:
    """About 10 MB of log."""
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    tick = make_tick(0, spec, config, noise)
    with Recorder(folder, spec, config, "mujoco", "ray") as recorder:
        for index in range(200):
            recorder.write(dataclasses.replace(tick, index=index))


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_an_error_and_not_a_short_file(tmp_path, small, room_with):
    with pytest.raises(OSError, match="File too large"):
        record_noise(tmp_path / "episode", room_with(), small)
