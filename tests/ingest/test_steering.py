"""Commands of cars, and poses with their covariance."""

import math

import pytest
from ingest.foreign_logs import changed, header, pose, write_bag

from sim2edge.episodes.moment import Command
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.source_log import read_source
from sim2edge.ingest.steering import Steering, to_command


@pytest.mark.parametrize(
    ("speed", "degrees", "turning"),
    [(2.0, 0, 0.0), (2.0, 45, 8.0), (2.0, -45, -8.0), (-2.0, 45, -8.0), (0.0, 30, 0.0)],
)
def test_a_car_turns_by_its_wheelbase(speed, degrees, turning):
    found = to_command(Steering(speed, math.radians(degrees)), wheelbase_m=0.25)
    assert found == pytest.approx((speed, turning))


def test_a_circle_of_known_radius():
    command = to_command(Steering(1.0, math.atan(0.5 / 3)), wheelbase_m=0.5)
    assert command.linear_m_s / command.angular_rad_s == pytest.approx(3)


def test_other_commands_stay_as_they_are():
    assert to_command(Command(1, 2), None) == (1, 2)


@pytest.mark.parametrize("angle", [math.pi / 2, 1.57, -2.0, 20.0, math.nan])
def test_a_wheel_across_is_refused(angle):
    with pytest.raises(ValueError, match=r"expected at most 1\.5 to a side"):
        to_command(Steering(1.0, angle), 0.3)


DRIVE = {"speed": 1.5, "steering_angle": 0.2}
STAMPED = "ackermann_msgs/msg/AckermannDriveStamped"


def car(tmp_path, schema: str):
    """A robot's drive with the commands of a car."""

    def change(sent):
        if sent[0] != "/cmd_vel":
            return sent
        content = {"header": header(sent[2]), "drive": DRIVE} if schema == STAMPED else DRIVE
        return "/drive", schema, sent[2], content

    return write_bag(tmp_path / "a.mcap", changed(change))


@pytest.mark.parametrize("schema", [STAMPED, "ackermann_msgs/msg/AckermannDrive"])
def test_commands_of_a_car(tmp_path, schema):
    config = IngestConfig(topics={"command": "/drive"}, wheelbase_m=0.324)
    stream = read_source(car(tmp_path, schema), config).streams["command"]
    assert stream.values[3] == pytest.approx((1.5, 1.5 * math.tan(0.2) / 0.324))
    assert (stream.stamps[0] is None) == (schema != STAMPED)


def test_a_car_without_a_wheelbase_is_refused(tmp_path):
    with pytest.raises(BadLog, match=r"^/drive: message 0: a steering angle: wheelbase_m=<metres from axle to axle>"):
        read_source(car(tmp_path, STAMPED), IngestConfig(topics={"command": "/drive"}))


def test_a_car_is_named_when_its_topic_is_not(tmp_path):
    with pytest.raises(
        BadLog, match=r"but /drive is ackermann_msgs/msg/AckermannDriveStamped: set topics.command=/dri"
    ):
        read_source(car(tmp_path, STAMPED), IngestConfig())


def test_poses_with_covariance(tmp_path):
    def change(sent):
        if sent[0] != "/odom":
            return sent
        content = {"header": sent[3]["header"], "pose": {"pose": pose(2.0, 0.5)}}
        return "/amcl_pose", "geometry_msgs/msg/PoseWithCovarianceStamped", sent[2], content

    log = write_bag(tmp_path / "a.mcap", changed(change))
    stream = read_source(log, IngestConfig(topics={"pose": "/amcl_pose"})).streams["pose"]
    assert stream.values[0] == pytest.approx((2.0, -0.5, 0.5))
