"""Record the data of another simulator, so that two simulators can be compared afterwards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.simulator import Advance, Observation, Simulator
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.episodes.moment import Command, Pose


class Observing:
    """Forwards all calls to a simulator, and records its answers."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self.name, self.camera_backend = simulator.name, simulator.camera_backend
        self.observations: list[Observation] = []
        self.commands: list[Command] = []
        self.advances: list[Advance] = []

    def reset(self, spec: EpisodeSpec) -> None:
        """Reset the simulator, see `Simulator.reset`."""
        self._simulator.reset(spec)

    def observe(self) -> Observation:
        """Record and return an observation, see `Simulator.observe`."""
        self.observations.append(self._simulator.observe())
        return self.observations[-1]

    def step(self, command: Command) -> Advance:
        """Record the command and its result, see `Simulator.step`."""
        self.commands.append(command)
        self.advances.append(self._simulator.step(command))
        return self.advances[-1]

    def close(self) -> None:
        """Close the simulator, see `Simulator.close`."""
        self._simulator.close()

    def save(self, path: Path) -> None:
        """Write the recording as one `.npz`: a row per tick."""
        views, advances = self.observations, self.advances
        content: dict[str, NDArray[Any]] = {
            "image": np.stack([view.image for view in views]),
            "instances": np.stack([view.instances for view in views]),
            "ranges": np.stack([view.ranges for view in views]),
            "cloud": np.array([view.cloud for view in views if view.cloud is not None]),
            "pose": np.array([view.pose for view in views]),
            "obstacles": np.array([view.obstacles for view in views]).reshape(len(views), -1, 3),
            "command": np.array(self.commands),
            "wheels": np.array([advance.wheels for advance in advances]),
            "imu": np.stack([advance.imu for advance in advances]),
        }
        np.savez_compressed(path, **content)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Observed:
    """The recording of an episode; each view is followed by its tick's command and advance."""

    views: tuple[Observation, ...]
    commands: tuple[Command, ...]
    advances: tuple[Advance, ...]


def read_observed(path: Path) -> Observed:
    """Read a file of `Observing.save`; it does not contain the touched objects."""
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    clouds = content["cloud"] if len(content["cloud"]) else [None] * len(content["pose"])
    columns = (content[name] for name in ("image", "instances", "ranges"))
    poses = [Pose(*row) for row in content["pose"].tolist()]
    obstacles = [tuple(Pose(*one) for one in row) for row in content["obstacles"].tolist()]
    views = tuple(Observation(*row) for row in zip(*columns, clouds, poses, obstacles, strict=True))
    advances = (
        Advance(frozenset(), (float(left), float(right)), imu)
        for (left, right), imu in zip(content["wheels"], content["imu"], strict=True)
    )
    return Observed(views, tuple(Command(*row) for row in content["command"].tolist()), tuple(advances))
