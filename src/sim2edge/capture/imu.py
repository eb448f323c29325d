"""Simulate the inertial measurement unit: add its errors to the true motion.

Each rate has Gaussian noise and the episode's bias, each acceleration Gaussian noise, drawn anew for every sample.
"""

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import ImuConfig
from sim2edge.capture.seeds import Rng

RATE_HZ = 100
"""Samples per simulated second."""


def disturb_imu(samples: NDArray[np.float64], config: ImuConfig, bias: float, rng: Rng) -> NDArray[np.float64]:
    """Return measured samples (n, 6): angular velocity (rad/s; plus `bias` on each axis), specific force (m/s2)."""
    deviation = np.repeat([config.gyro_noise_rad_s, config.accelerometer_noise_m_s2], 3)
    reported: NDArray[np.float64] = samples + rng.standard_normal(samples.shape) * deviation
    reported[:, :3] += bias
    return reported
