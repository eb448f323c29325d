"""A simulator that keeps what another one gave, so that two simulators can be compared afterwards."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.simulator import Advance, Command, Observation, Simulator
from sim2edge.capture.specs import EpisodeSpec


class Observing:
    """Passes everything on to a simulator, and remembers its answers."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self.name, self.camera_backend = simulator.name, simulator.camera_backend
        self.observations: list[Observation] = []
        self.advances: list[Advance] = []

    def reset(self, spec: EpisodeSpec) -> None:
        """As `Simulator.reset`."""
        self._simulator.reset(spec)

    def observe(self) -> Observation:
        """As `Simulator.observe`."""
        self.observations.append(self._simulator.observe())
        return self.observations[-1]

    def step(self, command: Command) -> Advance:
        """As `Simulator.step`."""
        self.advances.append(self._simulator.step(command))
        return self.advances[-1]

    def close(self) -> None:
        """As `Simulator.close`."""
        self._simulator.close()

    def save(self, path: Path) -> None:
        """Write all of it as one `.npz`: a row a tick."""
        views, advances = self.observations, self.advances
        content: dict[str, NDArray[Any]] = {
            "image": np.stack([view.image for view in views]),
            "instances": np.stack([view.instances for view in views]),
            "ranges": np.stack([view.ranges for view in views]),
            "pose": np.array([view.pose for view in views]),
            "obstacles": np.array([view.obstacles for view in views]).reshape(len(views), -1, 3),
            "wheels": np.array([advance.wheels for advance in advances]),
            "imu": np.stack([advance.imu for advance in advances]),
        }
        if views[0].cloud is not None:
            content["cloud"] = np.stack([view.cloud for view in views if view.cloud is not None])
        np.savez_compressed(path, **content)  # type: ignore[arg-type]
