"""Drive with an exported LiDAR policy, an ONNX network on the scan, for closed-loop tests of a model.

Its one input is [1, beams]: ranges as fractions of the LiDAR's largest range, 1 for no return. Its first output begins
with the linear (m/s) and the angular speed (rad/s).
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.driver import Decision, Floats
from sim2edge.capture.simulator import Observation
from sim2edge.episodes.moment import Command
from sim2edge.errors import BadInput


class PolicyDriver:
    """Drives with a policy.

    Raises:
        BadInput: the file is missing, has other content than declared, is not such a network, or ONNX Runtime is not
            installed.
    """

    def __init__(self, config: CaptureConfig) -> None:
        path = Path(config.driver.policy)
        if not path.is_file():
            raise BadInput(f"capture.driver.policy: no such file: '{path}'")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != config.driver.policy_sha256:
            raise BadInput(f"capture.driver.policy_sha256: not that of '{path}', which is {found}")
        try:
            import onnxruntime  # imported late, as few batches need it
        except ImportError as error:
            raise BadInput("capture.driver.policy: needs the package onnxruntime, which is not installed") from error
        try:
            self._network = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise BadInput(
                f"capture.driver.policy: '{path}' is not an ONNX model: {str(error).splitlines()[0]}"
            ) from error
        inputs = self._network.get_inputs()
        if len(inputs) != 1 or inputs[0].shape[-1] != config.lidar.beams:
            raise BadInput(f"capture.driver.policy: '{path}' does not take one scan of {config.lidar.beams} beams")
        self._input, self._reach = inputs[0].name, config.lidar.max_range_m
        self.checkpoints_passed = 0
        if self._ask(np.ones(config.lidar.beams)).size < 2:
            raise BadInput(f"capture.driver.policy: '{path}' does not return two speeds")

    def drive(self, view: Observation, ranges: Floats, angles: Floats) -> Decision:  # noqa: ARG002
        """Return the policy's command, see `Driver.drive`."""
        linear, angular = self._ask(np.minimum(ranges / self._reach, 1))[:2]
        command = Command(float(linear), float(angular))
        return Decision(command, command)

    def _ask(self, scan: Floats) -> NDArray[np.float32]:
        return np.ravel(self._network.run(None, {self._input: scan.astype(np.float32)[None]})[0])
