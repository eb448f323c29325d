"""Build the MuJoCo model of an episode: floor, walls, obstacles, decoration, lights and the robot.

Geom groups control visibility: the camera sees all but the robot, the LiDAR only walls and obstacles.
"""

import math
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import CameraConfig
from sim2edge.capture.floors import floor_texture
from sim2edge.capture.robot import add_robot
from sim2edge.capture.simulator import NO_INSTANCE, WALL
from sim2edge.capture.specs import EpisodeSpec, Obstacle, Part, RoomSpec

FLOOR_GROUP, WALL_GROUP, OBSTACLE_GROUP, DECORATION_GROUP = 0, 1, 2, 3
STEP_S = 0.005
FLOOR = "floor"


def groups(*seen: int) -> NDArray[np.uint8]:
    """Return the geom group mask (6) with only the given groups on."""
    return np.array([group in seen for group in range(6)], np.uint8)


CAMERA_GROUPS = groups(FLOOR_GROUP, WALL_GROUP, OBSTACLE_GROUP, DECORATION_GROUP)
LIDAR_GROUPS = groups(WALL_GROUP, OBSTACLE_GROUP)
CLOUD_GROUPS = groups(FLOOR_GROUP, WALL_GROUP, OBSTACLE_GROUP)


@dataclass(frozen=True)
class Scene:
    """A compiled model and the data on its geoms for the sensors."""

    model: mujoco.MjModel
    texture: NDArray[np.uint8]
    """The floor's texture, RGB; row 0 at the lowest y."""
    instances: NDArray[np.int16]
    """Geom to obstacle instance, else `NO_INSTANCE`."""
    solid: NDArray[np.bool_]
    """Geom to whether touching it is a collision."""
    names: tuple[str, ...]
    """Geom to its name in collisions: an obstacle's class, `WALL`, or empty."""


def build_scene(spec: EpisodeSpec, camera: CameraConfig) -> Scene:
    """Build and compile the model of an episode."""
    model = mujoco.MjSpec()
    model.option.timestep = STEP_S
    model.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # It sets near and far clipping; the default would grow with the walls.
    model.stat.extent = 5
    texture = floor_texture(spec.room)
    _add_floor(model, spec.room, texture)
    for wall in spec.room.walls:
        _add_part(model.worldbody, wall, WALL_GROUP)
    for part in spec.room.decorations:
        _add_part(model.worldbody, part, DECORATION_GROUP)
    for obstacle in spec.room.obstacles:
        _add_obstacle(model, obstacle)
    _add_lights(model, spec.room, camera)
    add_robot(model, spec.robot, spec.camera, spec.start, camera.fov_deg)
    compiled = model.compile()
    instances, solid = _instances(compiled, spec.room), _solid(compiled)
    return Scene(compiled, texture, instances, solid, _names(instances, solid, spec.room))


def _add_floor(model: mujoco.MjSpec, room: RoomSpec, texture: NDArray[np.uint8]) -> None:
    height, width, _ = texture.shape
    # In GL row 0 of a texture is at the top, where y is highest.
    drawn = model.add_texture(name=FLOOR, type=mujoco.mjtTexture.mjTEXTURE_2D, width=width, height=height, nchannel=3)
    drawn.data = texture[::-1].tobytes()
    material = model.add_material(name=FLOOR, specular=0, shininess=0, texrepeat=[1, 1])
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = FLOOR
    size = [room.width_m / 2, room.length_m / 2, 0.1]
    model.worldbody.add_geom(
        name=FLOOR,
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=size,
        material=FLOOR,
        group=FLOOR_GROUP,
        friction=[0.8, 0.005, 0.0001],
    )


KINDS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}


def _add_part(body: "mujoco.MjsBody", part: Part, group: int) -> None:
    touchable = int(group in (WALL_GROUP, OBSTACLE_GROUP))
    size = [*part.size, 0.0, 0.0][:3]
    body.add_geom(
        type=KINDS[part.shape],
        size=size,
        pos=part.position,
        quat=part.quaternion,
        rgba=[*part.rgb, 1],
        group=group,
        contype=touchable,
        conaffinity=touchable,
    )


def body_name(instance: int) -> str:
    """Return the name of an obstacle's body in the model."""
    return f"obstacle {instance}"


def _add_obstacle(model: mujoco.MjSpec, obstacle: Obstacle) -> None:
    half = obstacle.yaw_rad / 2
    body = model.worldbody.add_body(
        name=body_name(obstacle.instance),
        pos=[obstacle.x_m, obstacle.y_m, 0],
        quat=[math.cos(half), 0, 0, math.sin(half)],
        mocap=obstacle.motion is not None,
    )
    for part in obstacle.parts:
        _add_part(body, part, OBSTACLE_GROUP)


def _add_lights(model: mujoco.MjSpec, room: RoomSpec, camera: CameraConfig) -> None:
    model.visual.headlight.ambient = [room.ambient] * 3
    model.visual.headlight.diffuse = [0, 0, 0]
    model.visual.headlight.specular = [0, 0, 0]
    quality = model.visual.quality
    quality.shadowsize, quality.offsamples = 768, 0
    quality.numslices, quality.numstacks, quality.numquads = 16, 6, 3
    # The shadow map spans this share of the lamp's cone: the floor's objects, in more detail than by default.
    model.visual.map.shadowscale = 0.36
    model.visual.global_.offwidth, model.visual.global_.offheight = camera.width, camera.height
    for index, light in enumerate(room.lights):
        # Such a wide and even spot approximates a lamp in all directions that still casts shadows.
        model.worldbody.add_light(
            pos=light.position,
            dir=[0, 0, -1],
            diffuse=light.rgb,
            specular=[0, 0, 0],
            ambient=[0, 0, 0],
            cutoff=180,
            exponent=0,
            castshadow=camera.shadows and index == 0,
        )


def _instances(model: mujoco.MjModel, room: RoomSpec) -> NDArray[np.int16]:
    bodies = np.full(model.nbody, NO_INSTANCE, np.int16)
    for obstacle in room.obstacles:
        bodies[model.body(body_name(obstacle.instance)).id] = obstacle.instance
    geoms: NDArray[np.int16] = bodies[model.geom_bodyid]
    return geoms


def _solid(model: mujoco.MjModel) -> NDArray[np.bool_]:
    return np.isin(model.geom_group, (WALL_GROUP, OBSTACLE_GROUP))


def _names(instances: NDArray[np.int16], solid: NDArray[np.bool_], room: RoomSpec) -> tuple[str, ...]:
    return tuple(
        room.obstacles[instance].label if instance != NO_INSTANCE else WALL if hard else ""
        for instance, hard in zip(instances.tolist(), solid.tolist(), strict=True)
    )
