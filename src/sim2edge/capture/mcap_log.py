"""Write `simulation.mcap`: sensor data, commands and ground truth of each tick, as Foxglove messages.

All times are simulated and nothing depends on the timing of threads, so the same ticks produce the same bytes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from foxglove import channels

from sim2edge.capture import foxglove_messages as messages
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.lidar_capture import cloud_directions
from sim2edge.capture.motion_sensors import RATE_HZ as IMU_RATE_HZ
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.capture.tick import Tick
from sim2edge.episodes import foxglove_messages as moments
from sim2edge.episodes.formats import CONTROL_SCHEMA, IMU_SCHEMA, LABELS_SCHEMA, beam_angles
from sim2edge.episodes.mcap_file import McapFile, json_channel


class McapLog(McapFile):
    """Writes the MCAP file of one episode; has to be closed."""

    def __init__(self, path: Path, spec: EpisodeSpec, config: CaptureConfig, metadata: dict[str, str]) -> None:
        super().__init__(path, metadata)
        context = self.context
        angles = beam_angles(config.lidar)
        self._span = float(angles[0]), float(angles[-1])
        self._directions = cloud_directions(config.lidar_3d)
        self._transforms = messages.Transforms(spec.camera)
        self._image = channels.CompressedImageChannel("/camera/image", context=context)
        self._annotations = channels.ImageAnnotationsChannel("/camera/annotations", context=context)
        self._calibration = channels.CameraCalibrationChannel("/camera/calibration", context=context)
        self._scan = channels.LaserScanChannel("/lidar/scan", context=context)
        self._pose = channels.PoseInFrameChannel("/robot/pose", context=context)
        self._odometry = channels.PoseInFrameChannel("/robot/odometry", context=context)
        self._control = json_channel("/robot/control", CONTROL_SCHEMA, context)
        self._imu = json_channel("/imu", IMU_SCHEMA, context)
        self._labels = json_channel("/labels", LABELS_SCHEMA, context)
        self._scene = channels.SceneUpdateChannel("/truth/boxes", context=context)
        self._tf = channels.FrameTransformsChannel("/tf", context=context)
        if config.lidar_3d.enabled:
            self._cloud = channels.PointCloudChannel("/lidar/cloud", context=context)
        if config.camera.masks:
            self._instances = channels.CompressedImageChannel("/camera/instances", context=context)
        self._calibration.log(messages.calibration(config.camera), log_time=0)

    def write(self, tick: Tick, jpeg: bytes, mask: bytes | None) -> None:
        """Log one tick with its encoded image and, if instances are logged, its encoded instances.

        Raises:
            OSError: an earlier tick could not be written, for example because the disk is full.
        """
        self.check()
        time = tick.time_ns
        stamp = moments.timestamp(time)
        self._image.log(moments.picture(stamp, jpeg, "jpeg"), log_time=time)
        if mask is not None:
            self._instances.log(moments.picture(stamp, mask, "png"), log_time=time)
        self._scan.log(moments.laser_scan(stamp, tick.ranges, self._span), log_time=time)
        if tick.cloud is not None:
            self._cloud.log(messages.point_cloud(stamp, tick.cloud, self._directions), log_time=time)
        self._pose.log(moments.pose_in_frame(stamp, tick.pose, "room"), log_time=time)
        self._odometry.log(moments.pose_in_frame(stamp, tick.odometry, "odom"), log_time=time)
        self._tf.log(self._transforms.at(stamp, tick.pose, tick.odometry), log_time=time)
        self._annotations.log(moments.annotations(stamp, tick.labels.boxes), log_time=time)
        self._scene.log(messages.scene(stamp, tick.labels.boxes), log_time=time)
        self._control.log(_control(tick), log_time=time)
        self._imu.log(_imu(tick), log_time=time)
        self._labels.log(tick.labels.model_dump_json(by_alias=True).encode(), log_time=time)


def _control(tick: Tick) -> dict[str, float]:
    return {
        "linear_m_s": tick.command.linear_m_s,
        "angular_rad_s": tick.command.angular_rad_s,
        "applied_linear_m_s": tick.applied.linear_m_s,
        "applied_angular_rad_s": tick.applied.angular_rad_s,
    }


def _imu(tick: Tick) -> dict[str, Any]:
    """Return all samples since the previous tick in one message: one message each would take longer to write."""
    count = len(tick.imu)
    samples = np.round(tick.imu, 5).tolist()
    return {
        "times_s": [round(tick.time_ns / 1e9 - (count - 1 - k) / IMU_RATE_HZ, 3) for k in range(count)],
        "angular_velocity_rad_s": [sample[:3] for sample in samples],
        "specific_force_m_s2": [sample[3:] for sample in samples],
    }
