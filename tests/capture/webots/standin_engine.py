"""What stands in for the Webots process: time, physics and rendering of one world, behind `standin/controller`.

    load(path)      # then `controller.Supervisor()` finds this world, as a controller that Webots started does

Strict where Webots is: sensors sample after whole periods only, sets of fields wait for the next step, and what Webots
would refuse with a line on its console is kept in `refusals`.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from world_model import COLLISION, WorldModel, read_model, rotation_of
from world_parser import WorldNode

Floats = NDArray[np.float64]


class Engine:
    """One running world."""

    def __init__(self, path: Path) -> None:
        self.world: WorldModel = read_model(path)
        self.data = mujoco.MjData(self.world.model)
        self.step_ms = round(self.world.model.opt.timestep * 1000)
        self.time_ms = 0
        self.quit_status: int | None = None
        self.hidden: dict[str, set[int]] = {}
        self.pending: list[Callable[[], None]] = []
        self.sampled: list[tuple[int, int, Callable[[], None]]] = []
        self.refusals: list[str] = []
        self.robot = self.world.world.find("Robot")
        mujoco.mj_forward(self.world.model, self.data)

    def refuse(self, message: str) -> None:
        """What Webots prints, and goes on."""
        self.refusals.append(message)
        print(f"Error: {message}", file=sys.stderr)

    def every(self, period_ms: int, sample: Callable[[], None]) -> None:
        """Take a sample after every whole period from now on."""
        if not isinstance(period_ms, int) or period_ms <= 0 or period_ms % self.step_ms:
            raise ValueError(f"a sampling period of {period_ms!r} ms is no multiple of the step, {self.step_ms} ms")
        self.sampled.append((self.time_ms, period_ms, sample))

    def step(self, duration_ms: int) -> int:
        """Let time pass; -1 when Webots is ending."""
        if not isinstance(duration_ms, int) or duration_ms <= 0 or duration_ms % self.step_ms:
            raise ValueError(f"a step of {duration_ms!r} ms is no multiple of {self.step_ms} ms")
        if self.quit_status is not None:
            return -1
        for change in self.pending:
            change()
        self.pending.clear()
        for _ in range(duration_ms // self.step_ms):
            mujoco.mj_step(self.world.model, self.data)
            self.time_ms += self.step_ms
            self._sample()
        return 0

    def _sample(self) -> None:
        for since, period, sample in self.sampled:
            if (self.time_ms - since) % period == 0:
                mujoco.mj_kinematics(self.world.model, self.data)
                sample()

    def mount(self, device: WorldNode) -> tuple[Floats, Floats]:
        """Where a device on the robot is: its axes as columns (3, 3), and its place."""
        body = self.world.model.body(self.robot.define).id
        turn, place = self.data.xmat[body].reshape(3, 3), self.data.xpos[body]
        return turn @ rotation_of(device), place + turn @ np.array(device.numbers("translation", "0 0 0"))

    def cast(self, device: WorldNode, directions: Floats) -> tuple[NDArray[np.int32], Floats, Floats]:
        """Geom (-1: none), distance and normal along rays (n, 3) in a device's frame, as that device may see."""
        turn, place = self.mount(device)
        rays = directions @ turn.T
        count = len(rays)
        unseen = self.hidden.get(device.define, set()) | {COLLISION}
        groups = np.array([group not in unseen for group in range(6)], np.uint8)
        geom, distance, normal = np.full(count, -1, np.int32), np.zeros(count), np.zeros((count, 3))
        model = self.world.model
        mujoco.mj_multiRay(
            model,
            self.data,
            place,
            rays.ravel(),
            groups,
            1,
            -1,
            geom,
            distance,
            normal.reshape(-1),
            count,
            mujoco.mjMAXVAL,
        )
        return geom, np.where(geom < 0, np.inf, distance), normal

    def contacts(self) -> list[list[float]]:
        """Where the robot touches anything."""
        model, root = self.world.model, self.world.model.body(self.robot.define).id
        own = model.body_rootid[model.geom_bodyid] == root
        return [list(map(float, c.pos)) for c in self.data.contact if own[c.geom].any()]

    def draw(self, camera: WorldNode) -> tuple[bytes, bytes]:
        """The image and the segmentation image: B, G, R, A, row by row from the top.

        Light is that of Webots' shaders pbr.frag and hdr_resolve.frag, without what shines and without shadows.
        """
        width, height = int(camera.number("width", 64)), int(camera.number("height", 64))
        rays = pixel_rays(width, height, camera.number("fieldOfView", 0.785398))
        geom, distance, normal = self.cast(camera, rays)
        turn, place = self.mount(camera)
        points = place + np.where(geom < 0, 0, distance)[:, None] * (rays @ turn.T)
        albedo = np.vstack([self.world.colours, [0, 0, 0]])[geom]
        floor = geom == self.world.floor
        albedo[floor] = self._floor_colour(points[floor])
        seen = np.vstack([self.world.recognised, [0, 0, 0]]).astype(np.uint8)[geom]
        light = 0.96 * albedo * self._light(points, normal)
        return _packed((1 - np.exp(-light)) ** (1 / 2.2) * 255), _packed(seen)

    def _floor_colour(self, points: Floats) -> Floats:
        picture = self.world.picture
        half = self.world.model.geom_size[self.world.floor][:2]
        u, v = ((points[:, :2] + half) / (2 * half)).clip(0, 1 - 1e-9).T
        rows, columns = ((1 - v) * picture.shape[0]).astype(int), (u * picture.shape[1]).astype(int)
        written = picture[rows.clip(0, picture.shape[0] - 1), columns] / 255
        return np.where(written <= 0.04045, written / 12.92, ((written + 0.055) / 1.055) ** 2.4)

    def _light(self, points: Floats, normal: Floats) -> Floats:
        sky = self.world.world.find("Background").fields["skyColor"]
        light = np.tile([float(value.texts[0]) for value in sky], (len(points), 1))
        for lamp in (node for node in self.world.world.nodes if node.kind == "PointLight"):
            towards = np.array(lamp.numbers("location")) - points
            cosine = np.einsum("ij,ij->i", normal, towards) / np.linalg.norm(towards, axis=1)
            strength = lamp.number("intensity", 1) ** 2 / math.pi * np.array(lamp.numbers("color", "1 1 1"))
            light = light + cosine.clip(0)[:, None] * strength
        return light

    def scan(self, lidar: WorldNode) -> list[float]:
        """A range image as Webots makes it (WbLidar.cpp, merge_spherical.frag): pixels' middles, whole rows."""
        columns, layers = int(lidar.number("horizontalResolution", 512)), int(lidar.number("numberOfLayers", 4))
        fov, vertical = lidar.number("fieldOfView", 1.5708), lidar.number("verticalFieldOfView", 0.2)
        turn = fov * (0.5 - (np.arange(columns) + 0.5) / columns)
        rise = layer_angles(columns, layers, fov, vertical)[:, None]
        x, y = np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn)
        directions = np.stack([x, y, np.broadcast_to(np.sin(rise), x.shape)], axis=2).reshape(-1, 3)
        _, distance, _ = self.cast(lidar, directions)
        inside = (distance >= lidar.number("minRange", 0.01)) & (distance < lidar.number("maxRange", 1))
        return np.where(inside, distance, np.inf).astype(np.float32).tolist()


def layer_angles(columns: int, layers: int, fov: float, vertical: float) -> Floats:
    """The elevation of each layer, the topmost first."""
    if layers == 1:
        return np.zeros(1)
    pitch = fov / columns
    rows = math.ceil((vertical + pitch) / pitch)
    chosen = (np.arange(layers) * ((rows - 1) / (layers - 1))).astype(int)
    return (vertical + pitch) * (0.5 - (chosen + 0.5) / rows)


def pixel_rays(width: int, height: int, fov: float) -> Floats:
    """Unit vectors through the pixels' middles; a Webots camera looks along x, y is left and z up."""
    focal = width / 2 / math.tan(fov / 2)
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([np.full(column.shape, focal), width / 2 - column, height / 2 - row], axis=2).reshape(-1, 3)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _packed(colours: Any) -> bytes:
    rgb = np.asarray(colours).clip(0, 255).astype(np.uint8)
    return np.column_stack([rgb[:, ::-1], np.full(len(rgb), 255, np.uint8)]).tobytes()


current: Engine | None = None


def load(path: Path) -> Engine:
    """Start a world; the next `Supervisor` is its robot's."""
    global current
    current = Engine(path)
    return current
