"""Capture episodes, then repeat only the simulator calls of each, and print the CPU time of both as JSON.

    python -m benchmarks.bare_capture FOLDER 3 episode_seconds=10

It is a process of its own because MuJoCo's rendering backend is chosen before its import.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sim2edge.capture.camera_capture import prepare_environment
from sim2edge.capture.config import CaptureConfig
from sim2edge.config import load

if TYPE_CHECKING:
    from sim2edge.capture.simulator import Advance, Observation, Simulator
    from sim2edge.capture.specs import EpisodeSpec
    from sim2edge.episodes.moment import Command

BATCH = "bench-overhead"


class Noting:
    """A simulator that records its commands."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator
        self.name, self.camera_backend = simulator.name, simulator.camera_backend
        self.commands: list[Command] = []

    def reset(self, spec: "EpisodeSpec") -> None:
        """See `Simulator.reset`."""
        self.commands = []
        self._simulator.reset(spec)

    def observe(self) -> "Observation":
        """See `Simulator.observe`."""
        return self._simulator.observe()

    def step(self, command: "Command") -> "Advance":
        """See `Simulator.step`."""
        self.commands.append(command)
        return self._simulator.step(command)

    def close(self) -> None:
        """See `Simulator.close`."""
        self._simulator.close()


def main(folder: Path, episodes: int, overrides: Sequence[str]) -> None:
    """Print the seconds of CPU time of the episodes and of the bare calls, and the number of frames."""
    config = load(CaptureConfig, "capture", overrides=overrides)
    prepare_environment(config.camera.backend)
    import cv2

    from sim2edge.capture.mujoco_simulator import MujocoSimulator

    cv2.setNumThreads(1)
    simulator = MujocoSimulator(config, config.camera.backend)
    capture(config, simulator, folder, episodes)  # a warm-up: the first episode includes one-time loading
    whole, bare, frames = 0.0, 0.0, 0
    for index in range(episodes):
        start = time.process_time()
        spec, commands = capture(config, simulator, folder, index)
        middle = time.process_time()
        replay(spec, simulator, commands)
        whole, bare = whole + middle - start, bare + time.process_time() - middle
        frames += len(commands)
    print(json.dumps({"whole_s": whole, "bare_s": bare, "frames": frames}))


def capture(
    config: CaptureConfig, simulator: "Simulator", folder: Path, index: int
) -> tuple["EpisodeSpec", Sequence["Command"]]:
    """Capture an episode as a worker does; return its spec, and the commands sent to the motors."""
    from sim2edge.capture.episode import capture_episode
    from sim2edge.capture.room_simulator import draw_episode

    noting = Noting(simulator)
    spec, _ = draw_episode(config, BATCH, index)
    capture_episode(spec, noting, config, folder / spec.episode_id)
    noting.close()
    return spec, noting.commands


def replay(spec: "EpisodeSpec", simulator: "Simulator", commands: Sequence["Command"]) -> None:
    """Repeat the simulator calls of an episode, without control loop and without recording."""
    simulator.reset(spec)
    for command in commands:
        simulator.observe()
        simulator.step(command)
    simulator.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
