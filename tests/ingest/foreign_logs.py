"""Writes logs as other producers do: a ROS 2 bag in MCAP (CDR, standard definitions), a Foxglove log."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import foxglove
import numpy as np
from foxglove import channels, messages
from mcap.writer import CompressionType
from mcap_ros2.writer import Writer

START_NS = 1_700_000_000_000_000_000
TICK_NS = 100_000_000
HEIGHT, WIDTH = 48, 64
BEAMS = 180

SEPARATOR = "\n" + "=" * 80 + "\n"
TIME = "MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec"
HEADER = "MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id"
POINT = "MSG: geometry_msgs/Point\nfloat64 x\nfloat64 y\nfloat64 z"
QUATERNION = "MSG: geometry_msgs/Quaternion\nfloat64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1"
POSE = "MSG: geometry_msgs/Pose\ngeometry_msgs/Point position\ngeometry_msgs/Quaternion orientation"
VECTOR3 = "MSG: geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z"
TWIST = "MSG: geometry_msgs/Twist\ngeometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular"
POSE_COVARIANCE = "MSG: geometry_msgs/PoseWithCovariance\ngeometry_msgs/Pose pose\nfloat64[36] covariance"
TWIST_COVARIANCE = "MSG: geometry_msgs/TwistWithCovariance\ngeometry_msgs/Twist twist\nfloat64[36] covariance"
TRANSFORM = "MSG: geometry_msgs/Transform\ngeometry_msgs/Vector3 translation\ngeometry_msgs/Quaternion rotation"
TRANSFORM_STAMPED = (
    "MSG: geometry_msgs/TransformStamped\nstd_msgs/Header header\nstring child_frame_id\n"
    "geometry_msgs/Transform transform"
)
ACKERMANN = "float32 steering_angle\nfloat32 steering_angle_velocity\nfloat32 speed\nfloat32 acceleration\nfloat32 jerk"


def definition(text: str, *parts: str) -> str:
    return SEPARATOR.join([text, *parts])


DEFINITIONS = {
    "sensor_msgs/msg/CompressedImage": definition(
        "std_msgs/Header header\nstring format\nuint8[] data", HEADER, TIME
    ),
    "sensor_msgs/msg/Image": definition(
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n"
        "uint8[] data",
        HEADER,
        TIME,
    ),
    "sensor_msgs/msg/LaserScan": definition(
        "std_msgs/Header header\nfloat32 angle_min\nfloat32 angle_max\nfloat32 angle_increment\n"
        "float32 time_increment\nfloat32 scan_time\nfloat32 range_min\n"
        "float32 range_max\nfloat32[] ranges\nfloat32[] intensities",
        HEADER,
        TIME,
    ),
    "nav_msgs/msg/Odometry": definition(
        "std_msgs/Header header\nstring child_frame_id\ngeometry_msgs/PoseWithCovariance pose\n"
        "geometry_msgs/TwistWithCovariance twist",
        *(HEADER, TIME, POSE_COVARIANCE, POSE, POINT, QUATERNION, TWIST_COVARIANCE, TWIST, VECTOR3),
    ),
    "geometry_msgs/msg/PoseStamped": definition(
        "std_msgs/Header header\ngeometry_msgs/Pose pose", HEADER, TIME, POSE, POINT, QUATERNION
    ),
    "geometry_msgs/msg/Twist": definition("geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular", VECTOR3),
    "geometry_msgs/msg/TwistStamped": definition(
        "std_msgs/Header header\ngeometry_msgs/Twist twist", HEADER, TIME, TWIST, VECTOR3
    ),
    "tf2_msgs/msg/TFMessage": definition(
        "geometry_msgs/TransformStamped[] transforms", TRANSFORM_STAMPED, HEADER, TIME, TRANSFORM, VECTOR3, QUATERNION
    ),
    "geometry_msgs/msg/PoseWithCovarianceStamped": definition(
        "std_msgs/Header header\ngeometry_msgs/PoseWithCovariance pose",
        *(HEADER, TIME, POSE_COVARIANCE, POSE, POINT, QUATERNION),
    ),
    "ackermann_msgs/msg/AckermannDrive": ACKERMANN,
    "ackermann_msgs/msg/AckermannDriveStamped": definition(
        "std_msgs/Header header\nackermann_msgs/AckermannDrive drive",
        *(HEADER, TIME, "MSG: ackermann_msgs/AckermannDrive\n" + ACKERMANN),
    ),
    "vision_msgs/msg/Detection2DArray": definition(
        "std_msgs/Header header\nvision_msgs/Detection2D[] detections",
        *(HEADER, TIME, POSE_COVARIANCE, POSE, POINT, QUATERNION),
        "MSG: vision_msgs/Detection2D\nstd_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
        "vision_msgs/BoundingBox2D bbox\nstring id",
        "MSG: vision_msgs/ObjectHypothesisWithPose\nvision_msgs/ObjectHypothesis hypothesis\n"
        "geometry_msgs/PoseWithCovariance pose",
        "MSG: vision_msgs/ObjectHypothesis\nstring class_id\nfloat64 score",
        "MSG: vision_msgs/BoundingBox2D\nvision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
        "MSG: vision_msgs/Pose2D\nvision_msgs/Point2D position\nfloat64 theta",
        "MSG: vision_msgs/Point2D\nfloat64 x\nfloat64 y",
    ),
    "foxglove_msgs/msg/ImageAnnotations": definition(
        "foxglove_msgs/CircleAnnotation[] circles\nfoxglove_msgs/PointsAnnotation[] points\n"
        "foxglove_msgs/TextAnnotation[] texts",
        TIME,
        "MSG: foxglove_msgs/CircleAnnotation\nbuiltin_interfaces/Time timestamp\nfoxglove_msgs/Point2 position\n"
        "float64 diameter",
        "MSG: foxglove_msgs/PointsAnnotation\nbuiltin_interfaces/Time timestamp\nuint8 LINE_LOOP=2\nuint8 type\n"
        "foxglove_msgs/Point2[] points\nfloat64 thickness",
        "MSG: foxglove_msgs/TextAnnotation\nbuiltin_interfaces/Time timestamp\nfoxglove_msgs/Point2 position\n"
        "string text\nfloat64 font_size",
        "MSG: foxglove_msgs/Point2\nfloat64 x\nfloat64 y",
    ),
    "std_msgs/msg/String": "string data",
}  # fmt: skip


def picture(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """An RGB image of its own for each index."""
    rng = np.random.default_rng(index)
    image = np.full((height, width, 3), rng.integers(40, 200, 3), np.uint8)
    cv2.rectangle(image, (8, 8), (30, 30), rng.integers(0, 255, 3).tolist(), -1)
    return image


def jpeg(index: int, **size: int) -> bytes:
    return bytes(cv2.imencode(".jpg", picture(index, **size)[..., ::-1])[1])


def ranges(index: int, beams: int = BEAMS) -> list[float]:
    return np.random.default_rng([7, index]).uniform(0.2, 6, beams).tolist()


def header(stamp_ns: int, frame: str = "base") -> dict[str, Any]:
    return {"stamp": {"sec": stamp_ns // 10**9, "nanosec": stamp_ns % 10**9}, "frame_id": frame}


def pose(x: float, yaw: float) -> dict[str, Any]:
    turn = {"x": 0.0, "y": 0.0, "z": math.sin(yaw / 2), "w": math.cos(yaw / 2)}
    return {"position": {"x": x, "y": -0.5, "z": 0.0}, "orientation": turn}


Sent = tuple[str, str, int, dict[str, Any]]
"""Topic, schema, log time (ns) and content."""


def robot_drive(ticks: int = 12, start_ns: int = START_NS) -> Iterator[Sent]:
    """What a robot sends: a camera at 10 Hz, a LiDAR a little later, odometry at 20 Hz, commands without stamps."""
    for tick in range(ticks):
        now = start_ns + tick * TICK_NS
        yield (
            "/camera/image_raw/compressed", "sensor_msgs/msg/CompressedImage", now,
            {"header": header(now), "format": "rgb8; jpeg compressed bgr8", "data": jpeg(tick)},
        )  # fmt: skip
        later = now + 10_000_000
        yield "/scan", "sensor_msgs/msg/LaserScan", later, laser_scan(later, ranges(tick))
        for half in range(2):
            then = now + half * TICK_NS // 2
            yield "/odom", "nav_msgs/msg/Odometry", then, odometry(then, 0.05 * (2 * tick + half))
        yield "/cmd_vel", "geometry_msgs/msg/Twist", now + 1_000_000, twist(0.5, -0.1)
        yield "/chatter", "std_msgs/msg/String", now, {"data": "hello"}


def laser_scan(stamp_ns: int, values: list[float], **other: Any) -> dict[str, Any]:
    step = math.tau / max(1, len(values))
    return {
        "header": header(stamp_ns), "angle_min": -math.pi, "angle_max": math.pi - step, "angle_increment": step,
        "range_min": 0.1, "range_max": 10.0, "ranges": values, "intensities": [], **other,
    }  # fmt: skip


def odometry(stamp_ns: int, x: float) -> dict[str, Any]:
    return {"header": header(stamp_ns), "child_frame_id": "base", "pose": {"pose": pose(x, 0.2)}}


def twist(linear: float, angular: float) -> dict[str, Any]:
    return {"linear": {"x": linear}, "angular": {"z": angular}}


Quaternion = tuple[float, float, float, float]


def turned(roll: float = 0.0, pitch: float = 0.0, yaw: float = 0.0) -> Quaternion:
    """The quaternion x, y, z, w of fixed-axis roll, pitch and yaw, degrees, as URDF files state them."""
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a / 2), math.cos(a / 2)) for a in map(math.radians, (roll, pitch, yaw)))
    return (
        sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy,
    )  # fmt: skip


def tf(
    parent: str, child: str, rotation: Quaternion, stamp_ns: int = START_NS, at: tuple[float, float] = (0.1, 0.0)
) -> dict[str, Any]:
    """A transform in a `tf2_msgs/msg/TFMessage`."""
    return {
        "header": header(stamp_ns, parent),
        "child_frame_id": child,
        "transform": {
            "translation": {"x": at[0], "y": at[1], "z": 0.2},
            "rotation": dict(zip("xyzw", rotation, strict=True)),
        },
    }


def tf_message(*transforms: dict[str, Any], topic: str = "/tf_static", log_time_ns: int = START_NS) -> Sent:
    return topic, "tf2_msgs/msg/TFMessage", log_time_ns, {"transforms": list(transforms)}


def write_bag(path: Path, sent: Iterator[Sent] | list[Sent], chunk_size: int = 1 << 20, crcs: bool = True) -> Path:
    """A ROS 2 bag in MCAP."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = Writer(file, chunk_size, CompressionType.ZSTD if crcs else CompressionType.NONE, enable_crcs=crcs)
        known: dict[str, Any] = {}
        for topic, schema, time_ns, content in sent:
            if schema not in known:
                known[schema] = writer.register_msgdef(schema, DEFINITIONS[schema])
            writer.write_message(topic, known[schema], content, log_time=time_ns)
        writer.finish()
    return path


Change = Callable[[Sent], Sent | None]


def changed(change: Change, ticks: int = 12) -> list[Sent]:
    """A robot's drive, each message passed through `change`; None leaves it out."""
    return [kept for sent in robot_drive(ticks) if (kept := change(sent)) is not None]


def write_foxglove(
    path: Path,
    ticks: int = 12,
    labels: dict[str, Any] | None = None,
    mounted: dict[str, Any] | None = None,
    transforms: Sequence[messages.FrameTransform] = (),
    scan_late: Callable[[int], int | None] = lambda tick: 0,
    command_every: int = 1,
) -> Path:
    """A Foxglove log: protobuf, and our JSON for commands and labels; `mounted` is more of the scan's fields."""
    context = foxglove.Context()
    with foxglove.open_mcap(path, context=context, allow_overwrite=True):
        image = channels.RawImageChannel("/front", context=context)
        scan = channels.LaserScanChannel("/laser", context=context)
        place = channels.PoseInFrameChannel("/pose", context=context)
        control = foxglove.Channel(
            "/drive", schema=json_schema("sim2edge.Control"), message_encoding="json", context=context
        )
        truth = foxglove.Channel(
            "/truth", schema=json_schema("sim2edge.Labels"), message_encoding="json", context=context
        )
        for transform in transforms:
            single = channels.FrameTransformChannel("/tf_static", context=context)
            single.log(transform, log_time=START_NS)
        for tick in range(ticks):
            now = START_NS + tick * TICK_NS
            stamp = messages.Timestamp(now // 10**9, now % 10**9)
            image.log(
                messages.RawImage(
                    timestamp=stamp, width=WIDTH, height=HEIGHT, encoding="bgr8", step=WIDTH * 3,
                    data=picture(tick)[..., ::-1].tobytes(),
                ),
                log_time=now,
            )  # fmt: skip
            fields = {"start_angle": -math.pi, "end_angle": math.pi, "ranges": ranges(tick, 360)} | (mounted or {})
            late = scan_late(tick)
            if late is not None:
                then = messages.Timestamp((now + late) // 10**9, (now + late) % 10**9)
                scan.log(messages.LaserScan(timestamp=then, **fields), log_time=now + late)
            at = messages.Pose(
                position=messages.Vector3(x=0.1 * tick, y=0, z=0), orientation=messages.Quaternion(x=0, y=0, z=0, w=1)
            )
            place.log(messages.PoseInFrame(timestamp=stamp, frame_id="map", pose=at), log_time=now)
            if tick % command_every == 0:
                control.log({"linear_m_s": 0.3, "angular_rad_s": 0.1}, log_time=now)
            truth.log(labels or {"floor": "tile", "boxes": [BOX]}, log_time=now)
    return path


BOX = {
    "class": "chair", "instance": 1, "x_min": 8.0, "y_min": 8.0, "x_max": 30.0, "y_max": 30.0, "distance_m": 1.5,
    "bearing_rad": 0.1,
}  # fmt: skip
FOXGLOVE_TOPICS = ("topics.image=/front", "topics.scan=/laser", "topics.command=/drive", "topics.labels=/truth")


def json_schema(title: str) -> foxglove.Schema:
    return foxglove.Schema(name=title, encoding="jsonschema", data=b'{"type": "object"}')
