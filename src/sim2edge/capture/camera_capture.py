"""The camera: which backend draws the images, and the EGL backend itself.

EGL is probed in a process of its own, because importing MuJoCo with a missing EGL library kills the importer.
`MUJOCO_GL` has to be set before MuJoCo is imported: `prepare_environment` is the first thing a worker calls.
"""

import os
import subprocess
import sys
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import CameraConfig
from sim2edge.errors import BadInput

PROBE = """
import mujoco
from OpenGL import GL
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any()
    print("renderer:", GL.glGetString(GL.GL_RENDERER).decode())
"""


class Camera(Protocol):
    """Draws what the robot's camera sees."""

    def draw(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """The image (height, width, RGB) and the geom seen by each pixel (height, width; -1 for none), now."""

    def close(self) -> None:
        """Free the drawing context."""


def egl_environment() -> dict[str, str]:
    """The environment under which MuJoCo draws by EGL, on one thread a process when Mesa draws in software."""
    return {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "egl", "LP_NUM_THREADS": "0"}


def prepare_environment(backend: str) -> None:
    """Set what MuJoCo reads at its import; nothing GL is loaded for the ray camera."""
    os.environ.update(egl_environment() if backend == "egl" else {"MUJOCO_GL": "disable"})


def probe_egl() -> str | None:
    """The name of the EGL renderer, or None when EGL does not work on this machine."""
    environment = os.environ | egl_environment()
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    _, found, name = probe.stdout.partition("renderer: ")
    return name.strip() if probe.returncode == 0 and found else None


def choose_backend(config: CameraConfig) -> tuple[str, str]:
    """The backend to use and the renderer behind it.

    Raises:
        BadInput: EGL was asked for and does not work here.
    """
    renderer = None if config.backend == "ray" else probe_egl()
    if renderer:
        return "egl", renderer
    if config.backend == "egl":
        raise BadInput("capture.camera.backend: EGL does not work on this machine; use 'auto' or 'ray'")
    return "ray", "MuJoCo ray casting"
