"""Build the robot's body for MuJoCo: a round differential-drive base with mass, inertia, friction, velocity motors.

Two driven wheels, two frictionless casters, a mast with the camera at the front and the LiDAR in the middle.
"""

import math

import mujoco
import numpy as np

from sim2edge.capture.camera_mount import mount_position, mount_rotation
from sim2edge.capture.specs import CAMERA_AHEAD_M, LIDAR_3D_HEIGHT_M, TRACK_M, WHEEL_RADIUS_M, CameraSpec, RobotSpec
from sim2edge.episodes.moment import LIDAR_HEIGHT_M, ROBOT_RADIUS_M, Command, Pose

WHEEL_MASS_KG = 0.35
MOTOR_GAIN = 1.0
"""Torque per wheel speed error, N m s."""
MOTOR_TORQUE_NM = 2.0
ROBOT_GROUP = 4
"""Geom group of the robot: hidden from its own camera and LiDAR."""
IMU_HEIGHT_M = 0.1
CAMERA, LIDAR, LIDAR_3D, BODY, IMU = "camera", "lidar", "lidar 3d", "robot", "imu"
WHEELS = ("left", "right")


def wheel_speeds(command: Command) -> tuple[float, float]:
    """Return the left and right wheel speed (rad/s) for a command on a floor without slip."""
    turn = command.angular_rad_s * TRACK_M / 2
    return (command.linear_m_s - turn) / WHEEL_RADIUS_M, (command.linear_m_s + turn) / WHEEL_RADIUS_M


def add_robot(model: mujoco.MjSpec, robot: RobotSpec, camera: CameraSpec, start: Pose, fov_deg: float) -> None:
    """Add the robot to a model, standing at `start`."""
    half = start.yaw_rad / 2
    body = model.worldbody.add_body(
        name=BODY, pos=[start.x_m, start.y_m, 0], quat=[math.cos(half), 0, 0, math.sin(half)]
    )
    body.add_freejoint()
    _add_chassis(body, robot, camera.height_m)
    for side, name in zip((1, -1), WHEELS, strict=True):
        _add_wheel(model, body, robot, side, name)
    for side in (-1, 1):
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[0.02, 0, 0],
            pos=[side * 0.13, 0, 0.0205],
            mass=0.05,
            condim=1,
            priority=1,
            group=ROBOT_GROUP,
        )
    body.add_site(name=LIDAR, pos=[0, 0, LIDAR_HEIGHT_M])
    body.add_site(name=LIDAR_3D, pos=[0, 0, LIDAR_3D_HEIGHT_M])
    _add_imu(model, body)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, mount_rotation(camera).ravel())
    body.add_camera(name=CAMERA, pos=mount_position(camera), quat=quaternion, fovy=fov_deg)


def _add_imu(model: mujoco.MjSpec, body: "mujoco.MjsBody") -> None:
    body.add_site(name=IMU, pos=[0, 0, IMU_HEIGHT_M])
    for name, kind in (("gyro", mujoco.mjtSensor.mjSENS_GYRO), ("force", mujoco.mjtSensor.mjSENS_ACCELEROMETER)):
        model.add_sensor(name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_SITE, objname=IMU)


def _add_chassis(body: "mujoco.MjsBody", robot: RobotSpec, camera_height_m: float) -> None:
    shell = {"type": mujoco.mjtGeom.mjGEOM_CYLINDER, "group": ROBOT_GROUP}
    body.add_geom(size=[ROBOT_RADIUS_M, 0.04, 0], pos=[0, 0, 0.085], mass=0.85 * robot.mass_kg, **shell)
    body.add_geom(size=[0.05, 0.012, 0], pos=[0, 0, 0.137], mass=0.05 * robot.mass_kg, **shell)
    mast = (camera_height_m - 0.125) / 2
    body.add_geom(
        size=[0.015, mast, 0], pos=[CAMERA_AHEAD_M - 0.02, 0, 0.125 + mast], mass=0.1 * robot.mass_kg, **shell
    )


def _add_wheel(model: mujoco.MjSpec, body: "mujoco.MjsBody", robot: RobotSpec, side: int, name: str) -> None:
    wheel = body.add_body(name=name, pos=[0, side * TRACK_M / 2, WHEEL_RADIUS_M])
    wheel.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 1, 0], damping=0.01, armature=0.002)
    wheel.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[WHEEL_RADIUS_M, 0.015, 0],
        quat=[math.sqrt(0.5), math.sqrt(0.5), 0, 0],
        mass=WHEEL_MASS_KG,
        friction=[robot.wheel_friction, 0.005, 0.0001],
        priority=1,
        group=ROBOT_GROUP,
    )
    motor = model.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    motor.set_to_velocity(MOTOR_GAIN)
    motor.forcerange = [-MOTOR_TORQUE_NM, MOTOR_TORQUE_NM]
    motor.forcelimited = True
