"""Build the robot of `robot.py` as a Webots node: the same sizes, masses, motors and sensors.

Its shapes are for viewers only; `simulator.py` hides them from the robot's own camera and scanners. Sensors return
exact values: noise is added later, the same for every simulator.
"""

import math

from sim2edge.capture.camera_mount import mount_position
from sim2edge.capture.config import CameraConfig, CaptureConfig
from sim2edge.capture.robot import IMU_HEIGHT_M, MOTOR_TORQUE_NM, WHEEL_MASS_KG
from sim2edge.capture.specs import (
    CAMERA_AHEAD_M,
    LIDAR_3D_HEIGHT_M,
    TRACK_M,
    WHEEL_RADIUS_M,
    CameraSpec,
    EpisodeSpec,
    Part,
    Vector,
)
from sim2edge.capture.webots.geometry import bounding, camera_rotation, cylinders_physics, horizontal_fov, visible
from sim2edge.capture.webots.scanner import Scanner, scanner_2d, scanner_3d
from sim2edge.capture.webots.vrml import Node, turned
from sim2edge.episodes.moment import LIDAR_HEIGHT_M, ROBOT_RADIUS_M

CONTROLLER = "sim2edge_capture"
ROBOT = "ROBOT"
CAMERA, LIDAR, LIDAR_3D, GYRO, ACCELEROMETER = "camera", "lidar", "lidar 3d", "gyro", "accelerometer"
MOTORS = ("left motor", "right motor")
WHEELS = ("left wheel sensor", "right wheel sensor")
DEFINED = {CAMERA: "CAMERA", LIDAR: "LIDAR", LIDAR_3D: "LIDAR_3D"}
"""DEF name of each device from which nodes are hidden."""
WHEEL_MATERIAL, CASTER_MATERIAL = "wheel", "caster"

WHEEL_WIDTH_M = 0.03
CASTER_RADIUS_M, CASTER_MASS_KG = 0.02, 0.05
CASTER_AHEAD_M, CASTER_HEIGHT_M = 0.13, 0.0205
TOP_SPEED_RAD_S = 60.0
"""Above the speed of any command: a motor's limit clips silently."""
JOINT_DAMPING = 0.01
NEAREST_M = 0.01
BEYOND_M = 1.0
"""Range of the scanner beyond ours, so that noise is added before ranges are cut."""
GREY, DARK = (0.35, 0.37, 0.4), (0.1, 0.1, 0.1)


def robot_node(spec: EpisodeSpec, config: CaptureConfig, task: str) -> Node:
    """Return the robot at its start, run by our controller with the path of its task."""
    shells = chassis(spec)
    return Node(
        "Robot",
        define=ROBOT,
        translation=(float(spec.start.x_m), float(spec.start.y_m), 0.0),
        rotation=turned(spec.start.yaw_rad),
        name="robot",
        controller=CONTROLLER,
        controllerArgs=[task],
        supervisor=True,
        children=[
            *(visible(part, shadows=False) for part, _ in shells),
            *(_wheel(side) for side in (0, 1)),
            *(_caster(side) for side in (0, 1)),
            *sensors(spec, config),
        ],
        boundingObject=bounding([part for part, _ in shells]),
        physics=cylinders_physics(shells),
    )


def chassis(spec: EpisodeSpec) -> list[tuple[Part, float]]:
    """Return the shells of the robot, and the mass of each."""
    mass, mast = spec.robot.mass_kg, (spec.camera.height_m - 0.125) / 2
    return [
        (_shell((0.0, 0.0, 0.085), ROBOT_RADIUS_M, 0.04, GREY), 0.85 * mass),
        (_shell((0.0, 0.0, 0.137), 0.05, 0.012, DARK), 0.05 * mass),
        (_shell((CAMERA_AHEAD_M - 0.02, 0.0, 0.125 + mast), 0.015, mast, DARK), 0.1 * mass),
    ]


def _shell(position: Vector, radius: float, half: float, rgb: Vector) -> Part:
    return Part(shape="cylinder", size=(radius, half), position=position, rgb=rgb)


def _wheel(side: int) -> Node:
    y = TRACK_M / 2 * (1 - 2 * side)
    name = ("left", "right")[side]
    shape = Part(shape="cylinder", size=(WHEEL_RADIUS_M, WHEEL_WIDTH_M / 2), position=(0, 0, 0), rgb=DARK)
    wheel = Node(
        "Solid",
        translation=(0.0, y, WHEEL_RADIUS_M),
        rotation=(1.0, 0.0, 0.0, math.pi / 2),
        name=f"{name} wheel",
        contactMaterial=WHEEL_MATERIAL,
        children=[visible(shape, shadows=False)],
        boundingObject=bounding([shape]),
        physics=Node("Physics", density=-1.0, mass=WHEEL_MASS_KG),
    )
    motor = Node("RotationalMotor", name=MOTORS[side], maxVelocity=TOP_SPEED_RAD_S, maxTorque=MOTOR_TORQUE_NM, sound="")
    return Node(
        "HingeJoint",
        jointParameters=Node(
            "HingeJointParameters",
            axis=(0.0, 1.0, 0.0),
            anchor=(0.0, y, WHEEL_RADIUS_M),
            dampingConstant=JOINT_DAMPING,
        ),
        device=[motor, Node("PositionSensor", name=WHEELS[side])],
        endPoint=wheel,
    )


def _caster(side: int) -> Node:
    shape = Part(shape="sphere", size=(CASTER_RADIUS_M,), position=(0, 0, 0), rgb=DARK)
    return Node(
        "Solid",
        translation=(CASTER_AHEAD_M * (1 - 2 * side), 0.0, CASTER_HEIGHT_M),
        name=("front caster", "back caster")[side],
        contactMaterial=CASTER_MATERIAL,
        children=[visible(shape, shadows=False)],
        boundingObject=bounding([shape]),
        physics=Node("Physics", density=-1.0, mass=CASTER_MASS_KG),
    )


def sensors(spec: EpisodeSpec, config: CaptureConfig) -> list[Node]:
    """Return camera, scanners and inertial unit, without noise."""
    nodes = [
        _camera(spec.camera, config.camera),
        _lidar(LIDAR, LIDAR_HEIGHT_M, scanner_2d(config.lidar), config.lidar.max_range_m),
    ]
    if config.lidar_3d.enabled:
        nodes.append(_lidar(LIDAR_3D, LIDAR_3D_HEIGHT_M, scanner_3d(config.lidar_3d), config.lidar_3d.max_range_m))
    middle = (0.0, 0.0, IMU_HEIGHT_M)
    return [*nodes, *(Node(kind.capitalize(), translation=middle, name=kind) for kind in (GYRO, ACCELEROMETER))]


def _camera(spec: CameraSpec, config: CameraConfig) -> Node:
    return Node(
        "Camera",
        define=DEFINED[CAMERA],
        translation=mount_position(spec),
        rotation=camera_rotation(spec),
        name=CAMERA,
        fieldOfView=horizontal_fov(config.fov_deg, config.width, config.height),
        width=config.width,
        height=config.height,
        near=NEAREST_M,
        recognition=Node("Recognition", occlusion=0, segmentation=True),
    )


def _lidar(name: str, height_m: float, scanner: Scanner, max_range_m: float) -> Node:
    return Node(
        "Lidar",
        define=DEFINED[name],
        translation=(0.0, 0.0, height_m),
        rotation=turned(scanner.yaw_rad),
        name=name,
        horizontalResolution=scanner.columns,
        fieldOfView=scanner.fov_rad,
        verticalFieldOfView=scanner.vertical_fov_rad,
        numberOfLayers=scanner.layers,
        near=NEAREST_M,
        minRange=NEAREST_M,
        maxRange=max_range_m + BEYOND_M,
        projection="cylindrical",
        type="fixed",
    )
