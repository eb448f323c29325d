"""Varying a frame: boxes stay on their objects and inside the image, the mirrored world is consistent."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim2edge.augment.config import AugmentConfig
from sim2edge.augment.transforms import (
    BEARING,
    DISTANCE,
    X_MAX,
    Crop,
    Sample,
    add_noise,
    blur,
    crop,
    crop_boxes,
    disturb_lidar,
    draw_changes,
    flip,
    mirror_order,
    relight,
    row_seed,
    vary,
)

BEAMS, HEIGHT, WIDTH = 36, 48, 64
MIRROR = mirror_order(BEAMS, -math.pi, math.tau / BEAMS)
assert MIRROR is not None

unit = st.floats(0, 1, width=32)
crops = st.builds(Crop, st.floats(0.4, 1), unit, unit)
seeds = st.integers(0, 2**64 - 1)


@st.composite
def boxes_of(draw):
    rows = []
    for _ in range(draw(st.integers(0, 5))):
        x, y = sorted(draw(st.tuples(unit, unit))), sorted(draw(st.tuples(unit, unit)))
        assume(x[1] > x[0] and y[1] > y[0])
        rows.append([x[0], y[0], x[1], y[1], draw(st.floats(0, 8, width=32)), draw(st.floats(-3, 3, width=32))])
    return np.array(rows, np.float32).reshape(-1, 6)


def make_sample(boxes, image=None, seed=0) -> Sample:
    rng = np.random.default_rng(seed)
    if image is None:
        image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    lidar = rng.uniform(0.1, 6, BEAMS).astype(np.float32)
    lidar[::7] = np.inf
    return Sample(image, boxes, np.arange(len(boxes), dtype=np.int32), lidar, 0.3, -1.5, 0.7)


def painted(box) -> Sample:
    """A white rectangle on black with a box around it; left, top, right and bottom in pixels."""
    left, top, right, bottom = box
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[top:bottom, left:right] = 255
    row = [left / WIDTH, top / HEIGHT, right / WIDTH, bottom / HEIGHT, 2.0, 0.1]
    return make_sample(np.array([row], np.float32), image)


def bright_box(image) -> tuple[int, int, int, int]:
    """Where the white rectangle is now: left, top, width, height in pixels."""
    return cv2.boundingRect((image.max(axis=2) > 127).astype(np.uint8))


rectangles = st.tuples(
    st.integers(0, WIDTH - 8), st.integers(0, HEIGHT - 8), st.integers(6, WIDTH), st.integers(6, HEIGHT)
).map(lambda r: (r[0], r[1], min(WIDTH, r[0] + r[2]), min(HEIGHT, r[1] + r[3])))


@given(rectangles, crops, st.booleans())
def test_boxes_stay_on_the_same_pixels(rectangle, window, mirrored):
    varied = crop(painted(rectangle), window, min_visible=0.1)
    varied = flip(varied, MIRROR) if mirrored else varied
    assume(len(varied.boxes))
    left, top, wide, high = bright_box(varied.image)
    expected = varied.boxes[0, :4] * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    assert np.abs(expected - [left, top, left + wide, top + high]).max() <= 1.5


@given(boxes_of(), crops, unit)
def test_cropped_boxes_are_inside_and_visible_enough(boxes, window, min_visible):
    varied = crop(make_sample(boxes), window, min_visible)
    assert len(varied.boxes) == len(varied.classes)
    assert varied.boxes[:, :4].min(initial=0) >= 0
    assert varied.boxes[:, :4].max(initial=1) <= 1
    assert (varied.boxes[:, 2:4] > varied.boxes[:, :2]).all()
    assert varied.image.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(("min_visible", "kept"), [(0.49, 1), (0.51, 0)])
def test_a_box_half_outside_the_crop_is_kept_if_half_is_enough(min_visible, kept):
    box = np.array([[0.4, 0.5, 0.6, 0.7, 1, 0]], np.float32)
    boxes, _ = crop_boxes(box, (0.5, 0.0, 0.5, 1.0), min_visible)
    assert len(boxes) == kept


def test_a_crop_brings_objects_nearer():
    boxes = np.array([[0.4, 0.4, 0.6, 0.6, 3.0, 0.2]], np.float32)
    varied = crop(make_sample(boxes), Crop(0.5, 0.5, 0.5), 0.0)
    assert varied.boxes[0, DISTANCE] == pytest.approx(1.5)
    assert varied.boxes[0, X_MAX] == pytest.approx(0.7)


def test_the_whole_image_as_crop_changes_nothing():
    sample = make_sample(np.array([[0.1, 0.2, 0.5, 0.6, 3.0, 0.2]], np.float32))
    varied = crop(sample, Crop(1.0, 0.3, 0.9), 0.5)
    assert (varied.image == sample.image).all()
    assert varied.boxes == pytest.approx(sample.boxes)


@given(boxes_of(), st.integers(0, 99))
def test_flipping_twice_is_identity(boxes, seed):
    sample = make_sample(boxes, seed=seed)
    twice = flip(flip(sample, MIRROR), MIRROR)
    assert (twice.image == sample.image).all()
    assert twice.boxes == pytest.approx(sample.boxes, abs=1e-6)
    assert (twice.lidar == sample.lidar).all()
    assert (twice.angular_rad_s, twice.y_m, twice.yaw_rad) == (0.3, -1.5, 0.7)


def test_the_mirrored_world_is_consistent():
    """An object on the left, seen by camera and LiDAR, is on the right of both afterwards."""
    boxes = np.array([[0.1, 0.4, 0.3, 0.6, 2.0, math.pi / 4]], np.float32)
    lidar = np.full(BEAMS, np.inf, np.float32)
    beam = round((math.pi / 4 + math.pi) / (math.tau / BEAMS))
    lidar[beam] = 2.0
    mirrored = flip(Sample(np.zeros((4, 4, 3), np.uint8), boxes, np.zeros(1, np.int32), lidar, 0.5, 1.0, 0.2), MIRROR)
    angle = -math.pi + int(np.flatnonzero(np.isfinite(mirrored.lidar))[0]) * math.tau / BEAMS
    assert angle == pytest.approx(-(-math.pi + beam * math.tau / BEAMS))
    assert mirrored.boxes[0, BEARING] == pytest.approx(-math.pi / 4)
    assert mirrored.boxes[0, :4] == pytest.approx([0.7, 0.4, 0.9, 0.6])
    assert (mirrored.angular_rad_s, mirrored.y_m, mirrored.yaw_rad) == (-0.5, -1.0, -0.2)


@pytest.mark.parametrize(
    ("start", "step", "beams"),
    [(-math.pi, math.tau / 360, 360), (0.0, math.tau / 90, 90), (-1.0, 0.1, 21), (-0.95, 0.1, 20), (1.0, -0.1, 21)],
)
def test_each_beam_finds_the_one_on_the_other_side(start, step, beams):
    order = mirror_order(beams, start, step)
    assert order is not None
    angles = start + step * np.arange(beams)
    assert np.cos(angles[order]) == pytest.approx(np.cos(angles))
    assert np.sin(angles[order]) == pytest.approx(-np.sin(angles), abs=1e-9)


@pytest.mark.parametrize(("start", "step", "beams"), [(-1.0, 0.1, 15), (0.2, 0.1, 5), (-1.03, 0.1, 21), (0.5, 0.0, 1)])
def test_a_one_sided_scan_has_no_mirror(start, step, beams):
    assert mirror_order(beams, start, step) is None


@given(st.floats(-60, 60), st.floats(0.7, 1.3))
def test_light_moves_grey_levels_as_told_and_stays_in_range(brightness, contrast):
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    lit = relight(ramp, brightness, contrast)[0, :, 0].astype(int)
    expected = ((np.arange(256) - 128) * contrast + 128 + brightness).clip(0, 255)
    assert np.abs(lit - expected).max() <= 0.51
    assert (np.diff(lit) >= 0).all()


def test_no_light_change_is_none():
    image = make_sample(np.empty((0, 6), np.float32)).image
    assert (relight(image, 0.0, 1.0) == image).all()


def test_blur_keeps_the_mean_and_softens():
    image = make_sample(np.empty((0, 6), np.float32)).image
    soft = blur(image, 1.0)
    assert soft.mean() == pytest.approx(image.mean(), abs=1)
    assert soft.std() < image.std() / 2


def test_noise_has_the_deviation_asked_for_and_is_its_seeds():
    grey = np.full((96, 128, 3), 128, np.uint8)
    noisy = add_noise(grey, 6.0, 5)
    assert noisy.std(axis=(0, 1)) == pytest.approx([6, 6, 6], rel=0.05)
    assert noisy.mean(axis=(0, 1)) == pytest.approx([128, 128, 128], abs=0.3)
    assert abs(np.corrcoef(noisy.reshape(-1, 3).T) - np.eye(3)).max() < 0.05
    assert (noisy == add_noise(grey, 6.0, 5)).all()
    assert (noisy != add_noise(grey, 6.0, 6)).any()


@given(seeds, st.floats(0, 0.5), st.floats(0, 1))
def test_lidar_ranges_stay_ranges(seed, noise, dropout):
    before = make_sample(np.empty((0, 6), np.float32)).lidar
    after = disturb_lidar(before, noise, dropout, seed)
    assert after.dtype == np.float32
    assert (after >= 0).all()
    assert np.isinf(after[np.isinf(before)]).all()


def test_lidar_loses_the_share_asked_for():
    lost = np.isinf(disturb_lidar(np.ones(20_000, np.float32), 0.01, 0.1, 3))
    assert lost.mean() == pytest.approx(0.1, abs=0.01)


@settings(max_examples=50)
@given(boxes_of(), seeds)
def test_any_drawn_variation_is_a_valid_frame(boxes, seed):
    config = AugmentConfig()
    sample = make_sample(boxes)
    changes = draw_changes(seed, config)
    varied = vary(sample, changes, MIRROR)
    assert varied.boxes[:, :4].min(initial=0) >= 0
    assert varied.boxes[:, :4].max(initial=1) <= 1
    assert (varied.boxes[:, DISTANCE] >= 0).all()
    assert not np.isnan(varied.lidar).any()
    assert varied.image.dtype == np.uint8
    again = vary(sample, changes, MIRROR)
    assert (again.image == varied.image).all()
    assert (again.lidar == varied.lidar).all()
    assert ("flip" in changes.describe()) == (varied.yaw_rad != sample.yaw_rad)


def test_seeds_differ_by_episode_frame_and_copy():
    names = [
        (seed, episode, frame, copy) for seed in (0, 1) for episode in "ab" for frame in (1, 11) for copy in (1, 11)
    ]
    assert len({row_seed(*name) for name in names}) == len(names)
