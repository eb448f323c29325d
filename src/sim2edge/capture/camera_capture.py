"""Select the camera's renderer, and check that it works on this machine.

EGL is probed in a process of its own, because importing MuJoCo with a missing EGL library kills the importer.
`MUJOCO_GL` has to be set before MuJoCo is imported: `prepare_environment` is the first thing a worker calls.
"""

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

from sim2edge.capture.config import CameraConfig, CaptureConfig
from sim2edge.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROBE = """
import mujoco
from OpenGL import GL
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any()
    print("renderer:", ", ".join(GL.glGetString(name).decode() for name in (GL.GL_RENDERER, GL.GL_VERSION)))
"""

SOFTWARE_GL = {"LP_NUM_THREADS": "0", "LP_NATIVE_VECTOR_WIDTH": "256"}
"""Settings of Mesa's software renderer, independent of the machine's number of cores and register width."""


class Camera(Protocol):
    """Renders the robot camera's view."""

    def draw(self) -> "tuple[NDArray[np.uint8], NDArray[np.int32]]":
        """Return the current image (height, width, RGB) and the geom shown by each pixel (height, width; -1: none)."""

    def close(self) -> None:
        """Release the rendering context."""


def egl_environment() -> dict[str, str]:
    """Return the environment variables under which MuJoCo renders with EGL.

    Mesa's software renderer is set to one thread and a fixed vector width.
    """
    return {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "egl"} | SOFTWARE_GL


def prepare_environment(backend: str) -> None:
    """Set the variables that MuJoCo reads at import; the ray camera loads no GL at all."""
    os.environ.update(egl_environment() if backend == "egl" else {"MUJOCO_GL": "disable"})


def probe_egl() -> str | None:
    """Return EGL's renderer and its driver's version, or None if EGL does not work on this machine."""
    environment = os.environ | egl_environment()
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    _, found, name = probe.stdout.partition("renderer: ")
    return name.strip() if probe.returncode == 0 and found else None


def check_renderer(config: CameraConfig) -> None:
    """Check that this machine renders with the renderer that the config declares, which is part of the id.

    Raises:
        BadInput: EGL does not work here, or uses another renderer.
    """
    if config.backend == "ray":
        return
    found = probe_egl()
    if found is None:
        raise BadInput("capture.camera.backend: EGL does not work on this machine; use 'ray'")
    if found != config.renderer:
        raise BadInput(f"capture.camera.renderer: '{config.renderer}' is declared, here it is '{found}'")


def describe_camera(config: CaptureConfig) -> dict[str, str]:
    """Return the backend and the renderer of the images, for the summary."""
    backend = "webots" if config.simulator == "webots" else config.camera.backend
    return {"camera_backend": backend, "camera_renderer": config.camera.renderer or "MuJoCo ray casting"}
