"""Builds a MuJoCo model of a Webots world's text: what stands in for Webots sees what the world says, nothing else.

Shapes are what cameras and scanners see, bounding objects what is run into, as in Webots. The world's rules that matter
here: a Plane collides without end, a child Solid without a joint is part of its parent's body, friction is that of the
pair of contact materials.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray
from world_parser import World, WorldNode, parse_world

Floats = NDArray[np.float64]
FLOOR, SOLID, DECORATION, ROBOT, COLLISION = 0, 1, 3, 4, 5
"""Geom groups: what can be hidden from a viewer as a whole, and the bounding objects, which nobody sees."""
IDENTITY = (np.eye(3), np.zeros(3))


@dataclass
class WorldModel:
    """A compiled model, and what each geom is in the world."""

    world: World
    model: mujoco.MjModel
    colours: Floats
    """RGB of each geom, 0..1."""
    recognised: NDArray[np.uint8]
    """Recognition colour of each geom, RGB 0..255; black without one."""
    picture: NDArray[np.uint8]
    """The floor's texture, RGB; row 0 is its top."""
    floor: int
    """The floor's geom."""
    groups: dict[str, int]
    """The group of everything with a DEF that can be hidden."""
    mocap: dict[str, int]
    """The mocap index of each Solid with a DEF that can be moved."""
    motors: dict[str, int]
    """The actuator of each motor."""
    joints: dict[str, int]
    """Where each position sensor's angle is in qpos."""


@dataclass
class _Builder:
    spec: mujoco.MjSpec
    frictions: dict[tuple[str, str], float]
    colours: dict[str, tuple[float, ...]] = field(default_factory=dict)
    recognised: dict[str, tuple[float, ...]] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    joints: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Joint to its motor's and sensor's names."""


def read_model(path: Path) -> WorldModel:
    """Build the model of a world's file."""
    world = parse_world(path.read_text(encoding="utf-8"))
    info = world.find("WorldInfo")
    builder = _Builder(mujoco.MjSpec(), _frictions(info))
    builder.spec.option.timestep = info.number("basicTimeStep", 32) / 1000
    builder.spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    for node in world.nodes:
        if node.kind in ("Solid", "Group"):
            _add_top(builder, node)
        elif node.kind == "Robot":
            _add_robot(builder, node)
    (texture,) = world.find("ImageTexture").fields["url"]
    picture = np.asarray(cv2.imread(str(path.parent / texture))[..., ::-1])
    return _compile(builder, world, picture)


def _compile(builder: _Builder, world: World, picture: NDArray[np.uint8]) -> WorldModel:
    model = builder.spec.compile()
    names = [model.geom(index).name for index in range(model.ngeom)]
    mocap = {name: int(model.body(name).mocapid[0]) for name in builder.groups if _has_body(model, name)}
    return WorldModel(
        world,
        model,
        np.array([builder.colours.get(name, (0, 0, 0)) for name in names], float),
        np.rint(np.array([builder.recognised.get(name, (0, 0, 0)) for name in names]) * 255).astype(np.uint8),
        picture,
        next(index for index, name in enumerate(names) if name.startswith("FLOOR shape")),
        builder.groups,
        {name: index for name, index in mocap.items() if index >= 0},
        {motor: model.actuator(joint).id for joint, (motor, _) in builder.joints.items()},
        {sensor: int(model.joint(joint).qposadr[0]) for joint, (_, sensor) in builder.joints.items()},
    )


def _has_body(model: mujoco.MjModel, name: str) -> bool:
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) > 0


def _frictions(info: WorldNode) -> dict[tuple[str, str], float]:
    found = {}
    for contact in info.nodes("contactProperties"):
        pair = contact.string("material1", "default"), contact.string("material2", "default")
        found[pair] = float(contact.fields["coulombFriction"][0].texts[0])
    return found


def rotation_of(node: WorldNode) -> Floats:
    """A node's rotation as a matrix (3, 3)."""
    x, y, z, angle = node.numbers("rotation", "0 0 1 0")
    matrix = np.zeros(9)
    half = angle / 2
    mujoco.mju_quat2Mat(matrix, np.array([math.cos(half), *(np.array([x, y, z]) * math.sin(half))]))
    return matrix.reshape(3, 3)


def _under(frame: tuple[Floats, Floats], node: WorldNode) -> tuple[Floats, Floats]:
    turn, origin = frame
    return turn @ rotation_of(node), origin + turn @ np.array(node.numbers("translation", "0 0 0"))


def _add_top(builder: _Builder, node: WorldNode) -> None:
    movable = node.kind == "Solid" and node.define.startswith("OBSTACLE")
    group = FLOOR if node.define == "FLOOR" else DECORATION if node.kind == "Group" else SOLID
    body = builder.spec.worldbody
    if movable:
        body = body.add_body(name=node.define, mocap=True, pos=node.numbers("translation"))
        body.quat = _quaternion(rotation_of(node))
    if node.define:
        builder.groups[node.define] = group
    colour = tuple(float(value.texts[0]) for value in node.fields.get("recognitionColors", []))[:3]
    _add_shapes(builder, body, node, group, node.define or node.string("name"), colour)
    _add_bounds(builder, body, node, node.define or node.string("name"))


def _add_shapes(
    builder: _Builder, body: "mujoco.MjsBody", node: WorldNode, group: int, name: str, seen: tuple[float, ...] = ()
) -> None:
    """What is seen of a Solid or Group itself, its child Solids left out."""
    for index, (frame, shape) in enumerate(_leaves(node.nodes("children"), IDENTITY, ("Shape",))):
        (look,), (geometry,) = shape.nodes("appearance"), shape.nodes("geometry")
        geom = f"{name} shape {index}"
        _add_geom(body, geometry, frame, name=geom, group=group, contype=0, conaffinity=0, mass=0)
        builder.colours[geom] = look.numbers("baseColor", "1 1 1")
        if seen:
            builder.recognised[geom] = seen


def _add_bounds(builder: _Builder, body: "mujoco.MjsBody", node: WorldNode, name: str, **options: object) -> None:
    kinds = ("Box", "Cylinder", "Capsule", "Sphere", "Plane")
    for index, (frame, geometry) in enumerate(_leaves(node.nodes("boundingObject"), IDENTITY, kinds)):
        _add_geom(body, geometry, frame, name=f"{name} bound {index}", group=COLLISION, **options)


def _leaves(
    nodes: list[WorldNode], frame: tuple[Floats, Floats], kinds: tuple[str, ...]
) -> list[tuple[tuple[Floats, Floats], WorldNode]]:
    found = []
    for node in nodes:
        if node.kind in kinds:
            found.append((frame, node))
        elif node.kind in ("Pose", "Transform", "Group"):
            found += _leaves(node.nodes("children"), _under(frame, node) if node.kind != "Group" else frame, kinds)
    return found


def _add_geom(body: "mujoco.MjsBody", geometry: WorldNode, frame: tuple[Floats, Floats], **options: object) -> None:
    turn, origin = frame
    types = mujoco.mjtGeom
    if geometry.kind == "Box":
        kind, size = types.mjGEOM_BOX, [side / 2 for side in geometry.numbers("size", "2 2 2")]
    elif geometry.kind == "Sphere":
        kind, size = types.mjGEOM_SPHERE, [geometry.number("radius", 1), 0, 0]
    elif geometry.kind in ("Cylinder", "Capsule"):
        kind = types.mjGEOM_CYLINDER if geometry.kind == "Cylinder" else types.mjGEOM_CAPSULE
        size = [geometry.number("radius", 1), geometry.number("height", 2) / 2, 0]
    elif geometry.kind == "Plane":
        kind, size = types.mjGEOM_PLANE, [0, 0, 1]
    else:
        kind, size = types.mjGEOM_PLANE, [*_half_sides(geometry), 1]
    body.add_geom(type=kind, size=size, pos=origin, quat=_quaternion(turn), **options)


def _half_sides(faces: WorldNode) -> tuple[float, float]:
    """Of a rectangle around the origin, whose texture has to lie with its lower left corner at the lowest x and y."""
    points = np.array([float(value.texts[0]) for value in faces.nodes("coord")[0].fields["point"]]).reshape(-1, 3)
    texture = np.array([float(v.texts[0]) for v in faces.nodes("texCoord")[0].fields["point"]]).reshape(-1, 2)
    half = points[:, :2].max(axis=0)
    assert np.allclose(texture, points[:, :2] / (2 * half) + 0.5)
    assert not points[:, 2].any()
    return float(half[0]), float(half[1])


def _quaternion(matrix: Floats) -> Floats:
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(matrix).ravel())
    return quaternion


def _add_robot(builder: _Builder, node: WorldNode) -> None:
    body = builder.spec.worldbody.add_body(name=node.define, pos=node.numbers("translation"))
    body.quat = _quaternion(rotation_of(node))
    body.add_freejoint()
    builder.groups[node.define] = ROBOT
    _set_inertia(body, node.nodes("physics")[0])
    _add_shapes(builder, body, node, ROBOT, node.define)
    _add_bounds(builder, body, node, node.define)
    for child in node.nodes("children"):
        if child.kind == "HingeJoint":
            _add_wheel(builder, body, child)
        elif child.kind == "Solid":
            _add_part(builder, body, child)
        elif child.kind in ("Gyro", "Accelerometer"):
            _add_inertial(builder.spec, body, child)


def _set_inertia(body: "mujoco.MjsBody", physics: WorldNode) -> None:
    body.explicitinertial = True
    body.mass = physics.number("mass", -1)
    body.ipos = [float(value.texts[0]) for value in physics.fields["centerOfMass"]]
    # Webots and MuJoCo order the six numbers alike: xx, yy, zz, xy, xz, yz.
    body.fullinertia = [float(value.texts[0]) for value in physics.fields["inertiaMatrix"]]


def _add_part(builder: _Builder, body: "mujoco.MjsBody", solid: WorldNode) -> "mujoco.MjsBody":
    name, material = solid.string("name"), solid.string("contactMaterial", "default")
    part = body.add_body(name=name, pos=solid.numbers("translation"), quat=_quaternion(rotation_of(solid)))
    _add_shapes(builder, part, solid, ROBOT, name)
    friction = builder.frictions[material, "floor"]
    slides = {"condim": 1} if not friction else {"friction": [friction, 0.005, 0.0001]}
    _add_bounds(builder, part, solid, name, priority=1, mass=solid.nodes("physics")[0].number("mass", -1), **slides)
    return part


def _add_wheel(builder: _Builder, body: "mujoco.MjsBody", hinge: WorldNode) -> None:
    (solid,), (parameters,) = hinge.nodes("endPoint"), hinge.nodes("jointParameters")
    motor, sensor = hinge.nodes("device")
    wheel = _add_part(builder, body, solid)
    name = solid.string("name")
    # Webots gives a hinge's axis in the parent's frame.
    axis = rotation_of(solid).T @ np.array(parameters.numbers("axis", "1 0 0"))
    wheel.add_joint(
        name=name,
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=axis,
        damping=parameters.number("dampingConstant", 0),
        armature=0.002,
    )
    actuator = builder.spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    actuator.set_to_velocity(1.0)
    limit = motor.number("maxTorque", 10)
    actuator.forcerange, actuator.forcelimited = [-limit, limit], True
    builder.joints[name] = motor.string("name"), sensor.string("name")


def _add_inertial(spec: mujoco.MjSpec, body: "mujoco.MjsBody", device: WorldNode) -> None:
    name = device.string("name")
    body.add_site(name=name, pos=device.numbers("translation", "0 0 0"), quat=_quaternion(rotation_of(device)))
    kind = mujoco.mjtSensor.mjSENS_GYRO if device.kind == "Gyro" else mujoco.mjtSensor.mjSENS_ACCELEROMETER
    spec.add_sensor(name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_SITE, objname=name)
