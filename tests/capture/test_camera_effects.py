"""What the camera does to an image."""

import numpy as np
import pytest
from capture.hand_made import CAMERA
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.capture.camera_effects import add_noise, amplify, bend, blur, develop
from sim2edge.capture.seeds import generator

FOCAL = 104.0


@pytest.fixture
def edge() -> np.ndarray:
    """Black to the left of column 40, white from there on."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 40:] = 255
    return image


def camera(**fields):
    return CAMERA.model_copy(update=fields)


def rng():
    return generator("0", "camera")


def where_white_begins(image: np.ndarray, row: int) -> float:
    """The column of the edge, to parts of a pixel."""
    return image.shape[1] - float(image[row, :, 0].astype(float).sum()) / 255


def test_a_neutral_camera_changes_nothing(edge):
    assert develop(edge, CAMERA, 1.5, FOCAL, rng()) is edge


def test_a_camera_that_stands_still_neither_blurs_nor_bends(edge):
    assert develop(edge, camera(shutter_s=0.02, readout_s=0.02), 0.0, FOCAL, rng()) is edge


def test_the_same_seed_gives_the_same_image(edge):
    effects = camera(noise=3, exposure=1.1, shutter_s=0.02, readout_s=0.02)
    images = [develop(edge, effects, 1.2, FOCAL, rng()) for _ in range(2)]
    assert np.array_equal(*images)
    assert not np.array_equal(images[0], develop(edge, effects, 1.2, FOCAL, generator("1", "camera")))


def test_turning_left_moves_what_is_read_last_to_the_right(edge):
    image = develop(edge, camera(readout_s=0.02), 2.0, FOCAL, rng())
    assert where_white_begins(image, 0) == pytest.approx(40, abs=0.1)
    assert where_white_begins(image, 59) == pytest.approx(40 + 2.0 * 0.02 * FOCAL * 59 / 60, abs=0.1)
    image = develop(edge, camera(readout_s=0.02), -2.0, FOCAL, rng())
    assert where_white_begins(image, 59) == pytest.approx(40 - 2.0 * 0.02 * FOCAL * 59 / 60, abs=0.1)


@given(st.floats(1.01, 12))
def test_blur_spreads_an_edge_over_its_width_and_keeps_its_middle(width):
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 40:] = 255
    blurred = blur(image, width)
    between = np.count_nonzero((blurred[30, :, 0] > 2) & (blurred[30, :, 0] < 253))
    assert width - 2 <= between <= width + 1
    assert where_white_begins(blurred, 30) == pytest.approx(40, abs=0.1)


def test_gain_and_tint_saturate():
    image = np.full((4, 4, 3), 100, np.uint8)
    assert amplify(image, camera(exposure=2.0, tint=(1.0, 0.5, 1.5)))[0, 0].tolist() == [200, 100, 255]


def test_noise_has_its_deviation_and_no_mean():
    image = np.full((120, 160, 3), 128, np.uint8)
    noisy = add_noise(image, 4.0, rng()).astype(float)
    assert noisy.std() == pytest.approx(4.0, abs=0.1)
    assert noisy.mean() == pytest.approx(128, abs=0.1)


def test_a_bend_below_a_twentieth_of_a_pixel_is_none(edge):
    assert bend(edge, 0.04) is edge
