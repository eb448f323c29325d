"""Convert parts, rotations and masses to Webots nodes.

Webots measures boxes, cylinders and capsules by full sides and lengths; a capsule's length excludes its caps.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.camera_mount import mount_rotation
from sim2edge.capture.specs import CameraSpec, Part
from sim2edge.capture.webots.shading import appearance
from sim2edge.capture.webots.vrml import Node, Rotation

ROUNDNESS = 48
"""Sides of the polygon in place of a circle: Webots casts its LiDAR on polygons."""
SPHERE_SUBDIVISION = 3


def geometry(part: Part) -> Node:
    """Return the shape of a part, around its own middle."""
    size = [float(length) for length in part.size]
    if part.shape == "box":
        return Node("Box", size=(2 * size[0], 2 * size[1], 2 * size[2]))
    if part.shape == "sphere":
        return Node("Sphere", radius=size[0], subdivision=SPHERE_SUBDIVISION)
    kind = "Cylinder" if part.shape == "cylinder" else "Capsule"
    return Node(kind, radius=size[0], height=2 * size[1], subdivision=ROUNDNESS)


def placed(part: Part, child: Node) -> Node:
    """Return a node moved to the pose of a part."""
    x, y, z = (float(value) for value in part.position)
    return Node(
        "Pose", translation=(x, y, z), rotation=axis_angle(quaternion_matrix(part.quaternion)), children=[child]
    )


def visible(part: Part, shadows: bool = True) -> Node:
    """Return a part that is visible to cameras and LiDARs."""
    shape = Node("Shape", appearance=appearance(part.rgb), geometry=geometry(part), castShadows=shadows)
    return placed(part, shape)


def bounding(parts: Sequence[Part]) -> Node:
    """Return the bounding object for collisions, with the same shapes."""
    return Node("Group", children=[placed(part, geometry(part)) for part in parts])


def quaternion_matrix(quaternion: Sequence[float]) -> NDArray[np.float64]:
    """Return the matrix (3, 3) of a unit quaternion w, x, y, z."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def axis_angle(matrix: NDArray[np.float64]) -> Rotation:
    """Convert a rotation matrix (3, 3) to axis and angle (0..pi)."""
    skew = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]])
    sine, cosine = float(np.linalg.norm(skew)) / 2, (float(np.trace(matrix)) - 1) / 2
    angle = math.atan2(sine, cosine)
    if sine > 1e-9:
        axis = skew / (2 * sine)
    elif cosine > 0:
        return 0.0, 0.0, 1.0, 0.0
    else:
        # Half a turn: the axis is the column of (R + 1) / 2 that is surely not zero.
        columns = (matrix + np.eye(3)) / 2
        axis = columns[:, int(np.argmax(np.diag(columns)))]
        axis = axis / np.linalg.norm(axis)
    return float(axis[0]), float(axis[1]), float(axis[2]), angle


def camera_rotation(camera: CameraSpec) -> Rotation:
    """Return the rotation of a Webots camera on the robot; it looks along its x, with y to the left and z up."""
    right, up, backward = mount_rotation(camera).T
    return axis_angle(np.stack([-backward, -right, up], axis=1))


def horizontal_fov(vertical_deg: float, width: int, height: int) -> float:
    """Return a camera's horizontal field of view, which Webots expects, radians."""
    return 2 * math.atan(math.tan(math.radians(vertical_deg) / 2) * width / height)


def cylinders_physics(cylinders: Sequence[tuple[Part, float]]) -> Node:
    """Return the physics of upright cylinders joined to one body, each with its mass in kilograms."""
    mass = sum(own for _, own in cylinders)
    middle = np.average([part.position for part, _ in cylinders], axis=0, weights=[own for _, own in cylinders])
    inertia = np.sum([_inertia(part, own, middle) for part, own in cylinders], axis=0)
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = inertia.tolist()
    return Node(
        "Physics",
        density=-1.0,
        mass=float(mass),
        centerOfMass=[tuple(middle.tolist())],
        inertiaMatrix=[(xx, yy, zz), (xy, xz, yz)],
    )


def _inertia(part: Part, mass: float, around: NDArray[np.float64]) -> NDArray[np.float64]:
    radius, half = part.size
    across = mass * (radius**2 / 4 + half**2 / 3)
    away = np.array(part.position) - around
    own = np.diag([across, across, mass * radius**2 / 2])
    moved: NDArray[np.float64] = own + mass * (away @ away * np.eye(3) - np.outer(away, away))
    return moved
