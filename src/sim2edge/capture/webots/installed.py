"""Find the Webots installed on this machine, and build its command line and environment."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sim2edge.capture.camera_capture import SOFTWARE_GL
from sim2edge.capture.config import CaptureConfig
from sim2edge.errors import BadInput

RELEASE = "R2025a"
VERSION_TIMEOUT_S = 60.0
FIRST_DISPLAY, DISPLAYS = 100, 800
SCREEN = "-screen 0 1024x768x24 -nolisten tcp"


@dataclass(frozen=True)
class Webots:
    """An installation of the right release."""

    program: Path
    version: str
    virtual_display: Path | None
    """`xvfb-run`, or None to use the display of this session: cameras and scanners are rendered by OpenGL, and Webots
    renders only with a display."""


def declare_release(config: CaptureConfig) -> CaptureConfig:
    """Add the Webots release to the config of a batch that Webots captures, so that it affects the cache key.

    Raises:
        BadInput: the config declares another release.
    """
    if config.simulator != "webots":
        return config
    wanted = f"Webots {RELEASE}"
    if config.camera.renderer not in ("", wanted):
        raise BadInput(f"capture.camera.renderer: '{config.camera.renderer}' is declared, with Webots it is '{wanted}'")
    return config.model_copy(update={"camera": config.camera.model_copy(update={"renderer": wanted})})


def find_webots(environment: Mapping[str, str] = os.environ) -> Webots:
    """Find Webots in `WEBOTS_HOME` or on `PATH`, and a display for it.

    Raises:
        BadInput: Webots is missing or of another release, or there is no display for it.
    """
    program = _program(environment)
    xvfb = shutil.which("xvfb-run", path=environment.get("PATH"))
    if xvfb is None and not environment.get("DISPLAY"):
        raise BadInput("webots: it needs a display: install xvfb (xvfb-run), or set DISPLAY")
    display = Path(xvfb) if xvfb else None
    version = _ask_version(program, display, environment)
    if version != RELEASE:
        raise BadInput(f"webots: {program} is {version or 'of an unknown release'}; {RELEASE} is needed")
    return Webots(program, version, display)


def _program(environment: Mapping[str, str]) -> Path:
    home = environment.get("WEBOTS_HOME", "")
    if home and os.access(Path(home) / "webots", os.X_OK):
        return Path(home) / "webots"
    found = shutil.which("webots", path=environment.get("PATH"))
    if found is None:
        where = f"neither in WEBOTS_HOME ({home}) nor on PATH" if home else "not on PATH, and WEBOTS_HOME is not set"
        raise BadInput(f"webots: {where}; install {RELEASE}, see docs/webots.md")
    return Path(found)


def _ask_version(program: Path, display: Path | None, environment: Mapping[str, str]) -> str:
    command = [*display_command(display), str(program), "--version"]
    try:
        answer = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInput(f"webots: {program} --version does not answer: {type(error).__name__}") from error
    return parse_version(answer.stdout + answer.stderr)


def parse_version(answer: str) -> str:
    """Return the release in the output of `webots --version`, "" if it has none."""
    found = re.search(r"Webots version:\s*(\S+)", answer)
    return found.group(1) if found else ""


def display_command(virtual_display: Path | None) -> list[str]:
    """Return the start of a command line that provides a display; processes try different numbers first."""
    if virtual_display is None:
        return []
    first = FIRST_DISPLAY + os.getpid() % DISPLAYS
    return [str(virtual_display), "--auto-servernum", f"--server-num={first}", f"--server-args={SCREEN}"]


def webots_command(webots: Webots, world: Path, port: int) -> list[str]:
    """Return the complete command line for one world."""
    options = ["--batch", "--mode=fast", "--minimize", "--no-rendering", "--stdout", "--stderr", f"--port={port}"]
    return [*display_command(webots.virtual_display), str(webots.program), *options, str(world)]


def webots_environment(base: Mapping[str, str], own: Path, source: Path) -> dict[str, str]:
    """Return the environment variables of a Webots process: folders of its own, software GL, no credentials.

    Args:
        base: the variables of this process.
        own: a folder of the process; its path has to be short, because sockets are created below it.
        source: folder of the package sim2edge, for the controller.
    """
    kept = {name: value for name, value in base.items() if not name.startswith(("AWS_", "SIM2EDGE_SECRETS"))}
    folders = {
        "HOME": own / "home",
        "XDG_CONFIG_HOME": own / "home",
        "XDG_CACHE_HOME": own / "home",
        "XDG_RUNTIME_DIR": own / "run",
        "TMPDIR": own / "tmp",
        "WEBOTS_TMPDIR": own / "tmp",
    }
    path = os.pathsep.join(filter(None, (str(source), base.get("PYTHONPATH", ""))))
    fixed = {"PYTHONPATH": path, "PYTHONIOENCODING": "UTF-8", "MUJOCO_GL": "disable", "LIBGL_ALWAYS_SOFTWARE": "1"}
    named = {name: str(folder) for name, folder in folders.items()}
    return {"ALSOFT_DRIVERS": "null"} | kept | named | fixed | SOFTWARE_GL
