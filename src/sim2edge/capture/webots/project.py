"""Write the folder that Webots opens for one episode, through which we exchange files with the controller.

    project = write_project(folder, spec, config)
    folder/worlds/episode.wbt, worlds/textures/floor.png
    folder/controllers/sim2edge_capture/sim2edge_capture.py, runtime.ini     started by Webots for the robot
    folder/task.json                                                         the controller's task
    folder/episode/, outcome.json | failure.json, heartbeat                  its output; outcome.json comes last

The folder is all that is left after the episode.
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
    """The controller's task: `task.json`."""

    model_config = ConfigDict(frozen=True)

    spec: EpisodeSpec
    config: CaptureConfig
    observations: bool
    """Whether to record the simulator's data at every tick, for comparison with another (`observations.npz`)."""


class Failure(BaseModel):
    """The reason for a missing outcome: `failure.json`."""

    model_config = ConfigDict(frozen=True)

    bad_input: bool
    message: str


@dataclass(frozen=True)
class Project:
    """The files of one episode."""

    folder: Path

    @property
    def world(self) -> Path:
        """The world file."""
        return self.folder / "worlds" / "episode.wbt"

    @property
    def task(self) -> Path:
        """The controller's task."""
        return self.folder / "task.json"

    @property
    def episode(self) -> Path:
        """The episode's own folder."""
        return self.folder / "episode"

    @property
    def outcome(self) -> Path:
        """Written last: it exists once the episode is complete."""
        return self.folder / "outcome.json"

    @property
    def failure(self) -> Path:
        """The error that ended the controller."""
        return self.folder / "failure.json"

    @property
    def observations(self) -> Path:
        """The simulator's data at every tick."""
        return self.folder / "observations.npz"

    @property
    def heartbeat(self) -> Path:
        """Touched after every tick."""
        return self.folder / "heartbeat"

    @property
    def console(self) -> Path:
        """The output of Webots and the controller."""
        return self.folder / "console.log"


def write_project(folder: Path, spec: EpisodeSpec, config: CaptureConfig, observations: bool = False) -> Project:
    """Write the folder of an episode."""
    project = Project(folder)
    texture = project.world.parent / TEXTURE
    texture.parent.mkdir(parents=True)
    # A picture's row 0 is its top, where y is highest; OpenCV expects BGR.
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
    """Write a file atomically."""
    partial = path.with_suffix(".partial")
    partial.write_text(content.model_dump_json(), encoding="utf-8")
    os.replace(partial, path)  # noqa: PTH105 - replace states that it overwrites
