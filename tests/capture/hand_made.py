"""Episodes made by hand, and what their sensors would give: rays of MuJoCo through a scene of the parts alone."""

from collections.abc import Sequence

import mujoco
import numpy as np

from sim2edge.capture.camera_mount import focal_pixels, mount_position, mount_rotation
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.footprints import make_obstacle
from sim2edge.capture.lidar_capture import cast_beams, cast_cloud, cloud_directions
from sim2edge.capture.projection import rotation
from sim2edge.capture.simulator import NO_INSTANCE, Observation
from sim2edge.capture.specs import (
    WALL_HEIGHT_M,
    CameraSpec,
    EpisodeSpec,
    Light,
    Obstacle,
    Part,
    RobotSpec,
    RoomSpec,
    Rug,
)
from sim2edge.episodes.formats import beam_angles
from sim2edge.episodes.moment import LIDAR_HEIGHT_M, Pose

GREY = (0.5, 0.5, 0.5)
ORIGIN = Pose(0, 0, 0)
CAMERA = CameraSpec(
    height_m=0.3,
    tilt_deg=8,
    yaw_deg=0,
    roll_deg=0,
    exposure=1,
    tint=(1, 1, 1),
    noise=0,
    shutter_s=0,
    readout_s=0,
)
GROUPS = np.array([1, 1, 0, 0, 0, 0], np.uint8)


def solid(shape: str, size: tuple[float, ...], position, quaternion=(1.0, 0.0, 0.0, 0.0)) -> Part:
    """A grey part."""
    return Part(shape=shape, size=size, position=position, quaternion=quaternion, rgb=GREY)


def stand(instance: int, label: str, x: float, y: float, *parts: Part, yaw: float = 0.0, motion=None) -> Obstacle:
    """An obstacle of one group of parts."""
    return make_obstacle(instance, label, Pose(x, y, yaw), [parts], motion=motion)


def outer_walls(width: float, length: float) -> tuple[Part, ...]:
    """The four walls around a floor, 0.1 m thick."""
    half = WALL_HEIGHT_M / 2
    sides = [solid("box", (0.05, length / 2 + 0.1, half), (s * (width / 2 + 0.05), 0, half)) for s in (-1, 1)]
    return (*sides, *(solid("box", (width / 2 + 0.1, 0.05, half), (0, s * (length / 2 + 0.05), half)) for s in (-1, 1)))


def make_spec(
    obstacles: Sequence[Obstacle] = (),
    start: Pose = ORIGIN,
    rugs: Sequence[Rug] = (),
    camera: CameraSpec = CAMERA,
    size: tuple[float, float] = (6.0, 4.0),
) -> EpisodeSpec:
    """An episode in a rectangular room with a tiled floor."""
    room = RoomSpec(
        layout="rectangle",
        width_m=size[0],
        length_m=size[1],
        walls=outer_walls(*size),
        floor="tile",
        style="plain_tiles",
        texture_seed="0",
        rugs=tuple(rugs),
        wall_rgb=(0.8, 0.8, 0.8),
        obstacles=tuple(obstacles),
        decorations=(),
        lights=(Light(position=(0, 0, 3), rgb=(0.6, 0.6, 0.6)),),
        ambient=0.4,
    )
    robot = RobotSpec(mass_kg=8, wheel_friction=0.9, speed_m_s=0.5, slip=(0.0, 0.0), gyro_bias_rad_s=0.0)
    return EpisodeSpec(
        episode_id="hand.0000",
        seed="0" * 32,
        room=room,
        robot=robot,
        camera=camera,
        driver="expert",
        start=start,
        checkpoints=((1.0, 0.0),),
    )


def look(spec: EpisodeSpec, config: CaptureConfig, obstacles: Sequence[Pose] | None = None) -> Observation:
    """What the sensors give at the start; `obstacles` are where they stand by now."""
    poses = tuple(obstacles or (obstacle.pose for obstacle in spec.room.obstacles))
    model, data, owners = _compile(spec, poses)
    geoms = _pixels(model, data, spec, config)
    instances = np.where(geoms < 0, NO_INSTANCE, owners[geoms]).astype(np.int16)
    site = model.site("lidar").id
    ranges = cast_beams(model, data, site, beam_angles(config.lidar), GROUPS, 100.0)
    cloud = cast_cloud(model, data, site, cloud_directions(config.lidar_3d), GROUPS, 100.0)
    image = np.repeat((instances % 7 * 30 + 60).astype(np.uint8)[..., None], 3, axis=2)
    return Observation(image, instances, ranges, cloud if config.lidar_3d.enabled else None, spec.start, poses)


def _compile(spec: EpisodeSpec, poses: Sequence[Pose]):
    world = mujoco.MjSpec()
    world.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[9, 9, 1], group=2)
    owners = [NO_INSTANCE]
    for wall in spec.room.walls:
        _add(world.worldbody, wall, 0)
        owners.append(NO_INSTANCE)
    for obstacle, pose in zip(spec.room.obstacles, poses, strict=True):
        body = world.worldbody.add_body(pos=[*pose[:2], 0], quat=_yaw(pose))
        for part in obstacle.parts:
            _add(body, part, 1)
            owners.append(obstacle.instance)
    robot = world.worldbody.add_body(name="robot", pos=[*spec.start[:2], 0], quat=_yaw(spec.start))
    robot.add_site(name="lidar", pos=[0, 0, LIDAR_HEIGHT_M])
    model = world.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data, np.array(owners)


def _add(body, part: Part, group: int) -> None:
    shape = getattr(mujoco.mjtGeom, f"mjGEOM_{part.shape.upper()}")
    size = [*part.size, 0, 0][:3]
    body.add_geom(type=shape, size=size, pos=part.position, quat=part.quaternion, group=group)


def _yaw(pose: Pose) -> list[float]:
    return [np.cos(pose.yaw_rad / 2), 0, 0, np.sin(pose.yaw_rad / 2)]


def _pixels(model, data, spec: EpisodeSpec, config: CaptureConfig) -> np.ndarray:
    """The geom that each pixel shows, height x width."""
    height, width = config.camera.height, config.camera.width
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    focal = focal_pixels(height, config.camera.fov_deg)
    rays = np.stack([column - width / 2, height / 2 - row, np.full(column.shape, -focal)], axis=2).reshape(-1, 3)
    heading = rotation(tuple(_yaw(spec.start)))
    rays = rays @ (heading @ mount_rotation(spec.camera)).T
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    origin = heading @ mount_position(spec.camera) + [*spec.start[:2], 0]
    geoms, distance = np.full(len(rays), -1, np.int32), np.zeros(len(rays))
    seen = np.ones(6, np.uint8)
    mujoco.mj_multiRay(model, data, origin, rays.ravel(), seen, 1, -1, geoms, distance, None, len(rays), 1e3)
    return geoms.reshape(height, width)
