"""Render images by ray casting, with MuJoCo's ray queries and NumPy, without GL.

Lighting follows MuJoCo's own renderer for matt surfaces: albedo * (ambient + sum of light * cosine), with the first
light's shadow found by rays from the lamp. The floor's texture is read from a pyramid, coarser with distance, to avoid
aliasing.
"""

import math

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import CameraConfig
from sim2edge.capture.floors import TEXELS_PER_METRE
from sim2edge.capture.mujoco_scene import CAMERA_GROUPS, FLOOR, Scene
from sim2edge.capture.robot import CAMERA

Floats = NDArray[np.float64]

LEVELS = 5
SHADOW_SLACK_M = 0.01
"""Distance by which an object has to be nearer to the lamp to shade a point: surfaces do not shade themselves."""


class RayCamera:
    """Renders the robot camera's view of one scene."""

    def __init__(self, scene: Scene, data: mujoco.MjData, config: CameraConfig) -> None:
        self._model, self._data = scene.model, data
        self._shape = (config.height, config.width)
        self._camera = scene.model.camera(CAMERA).id
        self._floor = scene.model.geom(FLOOR).id
        self._albedo = np.vstack([scene.model.geom_rgba[:, :3], [0, 0, 0]]).astype(np.float32)
        self._size = scene.model.geom_size[self._floor][:2]
        self._focal = config.height / 2 / math.tan(math.radians(config.fov_deg) / 2)
        self._rays = _pixel_rays(config, self._focal)
        self._pyramid = [scene.texture]
        for _ in range(LEVELS - 1):
            self._pyramid.append(np.asarray(cv2.pyrDown(self._pyramid[-1]), np.uint8))

    def draw(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Return the image and the geom seen by each pixel, see `camera_capture.Camera`."""
        origin = self._data.cam_xpos[self._camera]
        rays = self._rays @ self._data.cam_xmat[self._camera].reshape(3, 3).T
        geom, distance, normal = self._cast(origin, rays)
        points = origin + distance[:, None] * rays
        albedo = self._albedo[geom]
        floor = geom == self._floor
        albedo[floor] = self._floor_colour(points[floor], distance[floor], rays[floor])
        colour = albedo * self._light(points, normal, geom)
        image = (colour * 255).clip(0, 255).astype(np.uint8).reshape(*self._shape, 3)
        return image, geom.reshape(self._shape)

    def close(self) -> None:
        """Do nothing: the camera holds no resources."""

    def _cast(self, origin: Floats, rays: Floats) -> tuple[NDArray[np.int32], Floats, Floats]:
        count = len(rays)
        geom, distance, normal = np.full(count, -1, np.int32), np.zeros(count), np.zeros((count, 3))
        mujoco.mj_multiRay(
            self._model,
            self._data,
            origin,
            rays.ravel(),
            CAMERA_GROUPS,
            1,
            -1,
            geom,
            distance,
            normal.reshape(-1),
            count,
            mujoco.mjMAXVAL,
        )
        return geom, distance, normal

    def _light(self, points: Floats, normal: Floats, geom: NDArray[np.int32]) -> NDArray[np.float32]:
        light = np.full((len(points), 3), self._model.vis.headlight.ambient, np.float32)
        for index in range(self._model.nlight):
            towards = self._model.light_pos[index] - points
            away = np.linalg.norm(towards, axis=1)
            cosine = np.einsum("ij,ij->i", normal, towards) / away
            lit = (cosine > 0) & (geom >= 0)
            if self._model.light_castshadow[index]:
                lit[lit] = self._sees(self._model.light_pos[index], -towards[lit] / away[lit, None], away[lit])
            light += np.where(lit, cosine, 0).astype(np.float32)[:, None] * self._model.light_diffuse[index]
        return light

    def _sees(self, lamp: Floats, rays: Floats, away: Floats) -> NDArray[np.bool_]:
        geom, distance, _ = self._cast(lamp, rays)
        return (geom < 0) | (distance > away - SHADOW_SLACK_M)

    def _floor_colour(self, points: Floats, distance: Floats, rays: Floats) -> NDArray[np.float32]:
        """Return texture colours (n, 3) of floor points, blended from the pyramid levels for each pixel's footprint."""
        texel = (points[:, :2] + self._size) * TEXELS_PER_METRE
        footprint = TEXELS_PER_METRE * distance / self._focal / np.sqrt(np.abs(rays[:, 2]).clip(1e-3))
        level = np.log2(footprint.clip(1)).clip(0, LEVELS - 1)
        colour = np.zeros((len(points), 3), np.float32)
        for index, picture in enumerate(self._pyramid):
            weight = 1 - np.abs(level - index)
            chosen = weight > 0
            where = (texel[chosen] / 2**index - 0.5).astype(np.float32)
            if len(where):
                drawn = cv2.remap(
                    picture, where[:, :1], where[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
                )
                colour[chosen] += np.asarray(drawn, np.float32)[:, 0] * (weight[chosen, None] / 255).astype(np.float32)
        return colour


def _pixel_rays(config: CameraConfig, focal: float) -> Floats:
    """Return unit vectors (height * width, 3) through pixel centres in the camera's frame (x right, y up, -z ahead)."""
    column, row = np.meshgrid(np.arange(config.width) + 0.5, np.arange(config.height) + 0.5)
    rays = np.stack([column - config.width / 2, config.height / 2 - row, np.full(column.shape, -focal)], axis=2)
    unit: Floats = (rays / np.linalg.norm(rays, axis=2, keepdims=True)).reshape(-1, 3)
    return unit
