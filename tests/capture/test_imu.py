"""What the IMU reports."""

import numpy as np
import pytest

from sim2edge.capture.config import ImuConfig
from sim2edge.capture.motion_sensors import disturb_imu
from sim2edge.capture.seeds import generator


def test_noise_and_bias_are_those_of_the_config():
    config = ImuConfig(gyro_noise_rad_s=0.01, accelerometer_noise_m_s2=0.1)
    still = np.tile([0, 0, 0.5, 0, 0, 9.81], (4000, 1))
    reported = disturb_imu(still, config, 0.02, generator("0", "imu"))
    assert reported.mean(axis=0) == pytest.approx([0.02, 0.02, 0.52, 0, 0, 9.81], abs=0.01)
    assert reported.std(axis=0) == pytest.approx([0.01] * 3 + [0.1] * 3, rel=0.1)


def test_without_noise_it_reports_the_truth_and_leaves_it_alone():
    config = ImuConfig(gyro_noise_rad_s=0, accelerometer_noise_m_s2=0)
    samples = np.arange(12.0).reshape(2, 6)
    assert np.array_equal(disturb_imu(samples, config, 0.0, generator("0", "imu")), np.arange(12.0).reshape(2, 6))
    assert disturb_imu(np.zeros((0, 6)), config, 0.1, generator("0", "imu")).shape == (0, 6)
