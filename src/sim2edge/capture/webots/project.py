"""The folder that Webots opens for one episode, and what passes between our process and the controller through it.

    project = write_project(folder, spec, config)
    folder/worlds/episode.wbt, worlds/textures/floor.png
    folder/controllers/sim2edge_capture/sim2edge_capture.py, runtime.ini     what Webots starts for the robot
    folder/task.json                                                         what the controller does
    folder/episode/, outcome.json | failure.json, heartbeat                  what it leaves; outcome.json comes last

Nothing of it outlives the episode but its own folder.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
from pydantic import BaseModel, ConfigDict

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.floors import floor_texture
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.capture.webots.robot_node import CONTROLLER
from sim2edge.capture.webots.world import TEXTURE, episode_world

SCRIPT = '''"""Started by Webots for the robot; the code is sim2edge.capture.webots.controller."""

import sys

from sim2edge.capture.webots.controller import main

sys.exit(main(sys.argv[1]))
'''


class Task(BaseModel):
    """What the controller does: `task.json`."""

    model_config = ConfigDict(frozen=True)

    spec: EpisodeSpec
    config: CaptureConfig
    observations: bool
    """Whether to keep what the simulator gave at every tick, for comparison with another (`observations.npz`)."""


class Failure(BaseModel):
    """Why there is no outcome: `failure.json`."""

    model_config = ConfigDict(frozen=True)

    bad_input: bool
    message: str


@dataclass(frozen=True)
class Project:
    """Where everything of one episode lies."""

    folder: Path

    @property
    def world(self) -> Path:
        """The world."""
        return self.folder / "worlds" / "episode.wbt"

    @property
    def task(self) -> Path:
        """What the controller does."""
        return self.folder / "task.json"

    @property
    def episode(self) -> Path:
        """The episode's own folder."""
        return self.folder / "episode"

    @property
    def outcome(self) -> Path:
        """Written last: its existence says that the episode is whole."""
        return self.folder / "outcome.json"

    @property
    def failure(self) -> Path:
        """Why the controller gave up."""
        return self.folder / "failure.json"

    @property
    def observations(self) -> Path:
        """What the simulator gave at every tick."""
        return self.folder / "observations.npz"

    @property
    def heartbeat(self) -> Path:
        """Touched after every tick."""
        return self.folder / "heartbeat"

    @property
    def console(self) -> Path:
        """All that Webots and the controller print."""
        return self.folder / "console.log"


def write_project(folder: Path, spec: EpisodeSpec, config: CaptureConfig, observations: bool = False) -> Project:
    """Write the folder for an episode."""
    project = Project(folder)
    texture = project.world.parent / TEXTURE
    texture.parent.mkdir(parents=True)
    # A picture's row 0 is its top, where y is highest; OpenCV writes blue first.
    cv2.imwrite(str(texture), floor_texture(spec.room)[::-1, :, ::-1])
    project.world.write_text(episode_world(spec, config, str(project.task)), encoding="utf-8")
    controller = folder / "controllers" / CONTROLLER
    controller.mkdir(parents=True)
    (controller / f"{CONTROLLER}.py").write_text(SCRIPT, encoding="utf-8")
    (controller / "runtime.ini").write_text(f"[python]\nCOMMAND = {sys.executable}\n", encoding="utf-8")
    task = Task(spec=spec, config=config, observations=observations)
    project.task.write_text(task.model_dump_json(), encoding="utf-8")
    return project


def write_whole(path: Path, content: BaseModel) -> None:
    """Write a file that is there whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(content.model_dump_json(), encoding="utf-8")
    os.replace(partial, path)  # noqa: PTH105 - says that it replaces
