"""Convert messages of foreign schemas to our types: an image, a scan, a pose, a command, labels.

    understand = reader_for("scan", schema, channel)    # refuses a schema that is not for scans
    stamp_ns, scan = understand(message.data)

The stamp is None for messages without one, such as `geometry_msgs/msg/Twist`.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from mcap.records import Channel, Schema
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sim2edge.episodes.moment import Command, ImageBox, Pose
from sim2edge.ingest.annotations import Outline, read_annotations, read_detections
from sim2edge.ingest.config import Role
from sim2edge.ingest.images import Picture
from sim2edge.ingest.lidar import Geometry, Scan, geometry_from_span
from sim2edge.ingest.mcap_reader import DAMAGE, BadLog, decoder_of, words_of
from sim2edge.ingest.mounting import IDENTITY, Quaternion, unit, yaw_of
from sim2edge.ingest.steering import Steering
from sim2edge.ingest.transforms import TRANSFORMS, bare

T = TypeVar("T", Pose, Command, Steering)
Stamped = tuple[int | None, Any]
Reader = Callable[[Any], Stamped]

MAXIMUM = 1e7
"""Metres, and metres and radians a second, beyond which a pose or a command is invalid; NaN is invalid, too."""


class LabelledBox(ImageBox):
    """A box in `sim2edge.Labels`; corners in pixels of the image."""

    model_config = ConfigDict(allow_inf_nan=False)

    label: str = Field(alias="class", min_length=1)
    instance: int = 0


class Labels(BaseModel):
    """`sim2edge.Labels`; if a producer leaves the floor out, the config provides it."""

    model_config = ConfigDict(frozen=True)

    stamp_ns: int | None = Field(default=None, ge=0)
    """Stamp of the image that these labels are for (without stamps: its log time), nanoseconds."""
    floor: str = ""
    boxes: tuple[LabelledBox, ...]


class Control(BaseModel):
    """`sim2edge.Control`."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    stamp_ns: int | None = Field(default=None, ge=0)
    """When it was sent, by the clock of the stamps, nanoseconds."""
    linear_m_s: float
    angular_rad_s: float


def _ros_stamp(header: Any) -> int:
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def _foxglove_stamp(message: Any) -> int | None:
    stamp = message.timestamp
    return stamp.seconds * 1_000_000_000 + stamp.nanos if message.HasField("timestamp") else None


def _ros_compressed(m: Any) -> Stamped:
    return _ros_stamp(m.header), Picture(bytes(m.data), m.format)


def _ros_raw(m: Any) -> Stamped:
    return _ros_stamp(m.header), Picture(bytes(m.data), m.encoding, (m.width, m.height, m.step))


def _ros_scan(m: Any) -> Stamped:
    geometry = Geometry(m.angle_min, m.angle_increment, len(m.ranges))
    ranges = np.asarray(m.ranges, np.float32)
    scan = Scan(geometry, ranges, m.range_min, m.range_max, m.angle_max, bare(m.header.frame_id))
    return _ros_stamp(m.header), scan


def _ros_odometry(m: Any) -> Stamped:
    return _ros_stamp(m.header), _pose(m.pose.pose)


def _ros_pose(m: Any) -> Stamped:
    return _ros_stamp(m.header), _pose(m.pose)


def _ros_pose_covariance(m: Any) -> Stamped:
    return _ros_stamp(m.header), _pose(m.pose.pose)


def _ros_ackermann(m: Any) -> Stamped:
    return None, _steering(m)


def _ros_ackermann_stamped(m: Any) -> Stamped:
    return _ros_stamp(m.header), _steering(m.drive)


def _ros_annotations(m: Any) -> Stamped:
    stamps = [each.timestamp for each in (*m.points, *m.texts, *m.circles)]
    stamp = next((each.sec * 1_000_000_000 + each.nanosec for each in stamps), None)
    return stamp, _drawn(read_annotations(m))


def _ros_detections(m: Any) -> Stamped:
    return _ros_stamp(m.header), _drawn(read_detections(m))


def _ros_twist(m: Any) -> Stamped:
    return None, _twist(m)


def _ros_twist_stamped(m: Any) -> Stamped:
    return _ros_stamp(m.header), _twist(m.twist)


def _foxglove_compressed(m: Any) -> Stamped:
    return _foxglove_stamp(m), Picture(m.data, m.format)


def _foxglove_raw(m: Any) -> Stamped:
    return _foxglove_stamp(m), Picture(m.data, m.encoding, (m.width, m.height, m.step))


def _foxglove_scan(m: Any) -> Stamped:
    geometry = geometry_from_span(m.start_angle, m.end_angle, len(m.ranges))
    turned = m.HasField("pose") and m.pose.HasField("orientation")
    rotation = _rotation(m.pose.orientation) if turned else IDENTITY
    ranges = np.asarray(m.ranges, np.float64)
    return _foxglove_stamp(m), Scan(geometry, ranges, frame=bare(m.frame_id), rotation=rotation)


def _foxglove_pose(m: Any) -> Stamped:
    return _foxglove_stamp(m), _pose(m.pose)


def _foxglove_annotations(m: Any) -> Stamped:
    dated = [each for each in (m, *m.points, *m.texts, *m.circles) if "timestamp" in each.DESCRIPTOR.fields_by_name]
    return next((stamp for each in dated if (stamp := _foxglove_stamp(each)) is not None), None), _drawn(
        read_annotations(m)
    )


def _drawn(outlines: list[Outline]) -> Labels:
    unknown = {"distance_m": None, "bearing_rad": None}
    boxes = [{**outline._asdict(), **unknown, "class": outline.name} for outline in outlines]
    return Labels.model_validate({"boxes": boxes})


def _control(data: Any) -> Stamped:
    control = Control.model_validate_json(data)
    return control.stamp_ns, _possible("command", Command(control.linear_m_s, control.angular_rad_s))


def _labels(data: Any) -> Stamped:
    labels = Labels.model_validate_json(data)
    return labels.stamp_ns, labels


def _pose(pose: Any) -> Pose:
    found = Pose(float(pose.position.x), float(pose.position.y), yaw_of(_rotation(pose.orientation)))
    return _possible("pose", found)


def _rotation(q: Any) -> Quaternion:
    return unit(float(q.x), float(q.y), float(q.z), float(q.w))


def _twist(twist: Any) -> Command:
    found = Command(float(twist.linear.x), float(twist.angular.z))
    return _possible("command", found)


def _steering(drive: Any) -> Steering:
    return _possible("command", Steering(float(drive.speed), float(drive.steering_angle)))


def _possible(what: str, numbers: T) -> T:
    if not all(abs(number) <= MAXIMUM for number in numbers):
        raise ValueError(f"the {what} is {', '.join(f'{number:g}' for number in numbers)}: no robot's")
    return numbers


ROS, FOXGLOVE, JSON = "cdr", "protobuf", "json"
SCHEMAS: Mapping[Role, Mapping[str, tuple[str, Reader]]] = {
    "image": {
        "sensor_msgs/msg/CompressedImage": (ROS, _ros_compressed),
        "sensor_msgs/msg/Image": (ROS, _ros_raw),
        "foxglove.CompressedImage": (FOXGLOVE, _foxglove_compressed),
        "foxglove.RawImage": (FOXGLOVE, _foxglove_raw),
    },
    "scan": {
        "sensor_msgs/msg/LaserScan": (ROS, _ros_scan),
        "foxglove.LaserScan": (FOXGLOVE, _foxglove_scan),
    },
    "pose": {
        "nav_msgs/msg/Odometry": (ROS, _ros_odometry),
        "geometry_msgs/msg/PoseStamped": (ROS, _ros_pose),
        "geometry_msgs/msg/PoseWithCovarianceStamped": (ROS, _ros_pose_covariance),
        "foxglove.PoseInFrame": (FOXGLOVE, _foxglove_pose),
    },
    "command": {
        "geometry_msgs/msg/Twist": (ROS, _ros_twist),
        "geometry_msgs/msg/TwistStamped": (ROS, _ros_twist_stamped),
        "ackermann_msgs/msg/AckermannDrive": (ROS, _ros_ackermann),
        "ackermann_msgs/msg/AckermannDriveStamped": (ROS, _ros_ackermann_stamped),
        "sim2edge.Control": (JSON, _control),
    },
    "labels": {
        "sim2edge.Labels": (JSON, _labels),
        "foxglove.ImageAnnotations": (FOXGLOVE, _foxglove_annotations),
        "foxglove_msgs/msg/ImageAnnotations": (ROS, _ros_annotations),
        "vision_msgs/msg/Detection2DArray": (ROS, _ros_detections),
    },
}
"""By role and schema name: the required encoding of messages, and the function that converts them."""


@dataclass(frozen=True)
class Understanding:
    """Decodes and converts the messages of one channel."""

    topic: str
    decode: Callable[[bytes], Any]
    read: Reader
    keep: Callable[[Any], Any]
    frames: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many messages have each frame, and each child frame; empty names for messages without."""

    def __call__(self, data: bytes, number: int) -> Stamped:
        """Convert message `number` (from 0) of the topic to its stamp in nanoseconds, or None, and the value to keep.

        Raises:
            BadLog: it does not match its schema, or a value is impossible.
        """
        try:
            message = self.decode(data)
            stamp_ns, value = self.read(message)
            self.frames[_frames(message)] += 1
            return stamp_ns, self.keep(value)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "content"
            raise BadLog(f"{self.topic}: message {number}: {field}: {first['msg']}") from error
        except DAMAGE as error:
            raise BadLog(f"{self.topic}: message {number}: {words_of(error)}") from error


def reader_for(
    role: Role, schema: Schema | None, channel: Channel, keep: Callable[[Any], Any] = lambda value: value
) -> Understanding:
    """Return the reader for the messages of a channel that is mapped to a role.

    `keep` reduces each value to what is kept of it.

    Raises:
        BadLog: the schema is not for that role, or the encoding is not the required one.
    """
    known, name = SCHEMAS[role], schema.name if schema else ""
    if name not in known:
        raise BadLog(f"{channel.topic}: schema '{name}' is no {role}: expected one of {', '.join(known)}")
    encoding, read = known[name]
    decode = decoder_of(schema, channel) if channel.message_encoding == encoding else None
    if decode is None:
        found = f"{channel.message_encoding or 'no encoding'}, schema {schema.encoding if schema else 'none'}"
        raise BadLog(f"{channel.topic}: {name} as {found}: expected {encoding}")
    return Understanding(channel.topic, decode, read, keep)


def transforms_reader(schema: Schema, channel: Channel) -> Understanding:
    """Return the reader for the messages of a channel whose schema is one of `TRANSFORMS`.

    Its values are tuples of `Transform`.

    Raises:
        BadLog: the encoding is not the required one.
    """
    encoding, read = TRANSFORMS[schema.name]
    decode = decoder_of(schema, channel) if channel.message_encoding == encoding else None
    if decode is None:
        raise BadLog(f"{channel.topic}: {schema.name} as {channel.message_encoding or 'no encoding'}: not {encoding}")
    return Understanding(channel.topic, decode, lambda message: (None, read(message)), tuple)


def _frames(message: Any) -> tuple[str, str]:
    """Return the frame of a message and its child frame; empty where it has none."""
    inside = getattr(message, "header", message)
    return bare(getattr(inside, "frame_id", "")), bare(getattr(message, "child_frame_id", ""))
