"""Boxes that are laid into cells come out of `decode` as they went in."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sim2edge.recipes.perception import (
    CLASSES,
    DISTANCE_GAIN,
    FLOORS,
    OFFSET_GAIN,
    SIZE_GAIN,
    assign_cells,
    cell_geometry,
    decode,
    grid_shapes,
    signature,
    suppress,
)

HEIGHT, WIDTH = 96, 128
GRIDS = grid_shapes(HEIGHT, WIDTH)
OUTPUTS = 1 + len(CLASSES) + 4 + 1
ARGUMENTS = signature(HEIGHT, WIDTH)


def ideal_outputs(boxes, classes, distances):
    """What a perfect network says: each claimed cell tells its box."""
    cells, raw = cell_geometry(GRIDS), np.zeros((240, OUTPUTS), np.float32)
    raw[:, 0] = -20
    owners = assign_cells(boxes, GRIDS)
    for cell in np.flatnonzero(owners >= 0):
        box, (x, y, width, height) = boxes[owners[cell]], cells[cell]
        raw[cell, 0], raw[cell, 1 + classes[owners[cell]]] = 20, 20
        raw[cell, -5:-3] = ((box[:2] + box[2:]) / 2 - (x, y)) / (width, height) / OFFSET_GAIN
        raw[cell, -3:-1] = np.log((box[2:] - box[:2]) / (width, height)) / SIZE_GAIN
        raw[cell, -1] = np.log(distances[owners[cell]]) / DISTANCE_GAIN
    return raw[None]


@st.composite
def single_boxes(draw):
    sides = st.floats(0.03, 1.0)
    width, height = draw(sides), draw(sides)
    x, y = draw(st.floats(0, 1 - width)), draw(st.floats(0, 1 - height))
    return np.array([[x, y, x + width, y + height]], np.float32)


@settings(deadline=None)
@given(single_boxes(), st.integers(0, len(CLASSES) - 1), st.floats(0.1, 8))
def test_a_box_comes_back_as_one_detection(box, kind, distance):
    raw = ideal_outputs(box, [kind], [distance])
    (found,) = decode(np.zeros((1, 4)), raw, **ARGUMENTS)
    assert len(found.boxes) == 1
    np.testing.assert_allclose(found.boxes[0], box[0], atol=1e-4)
    assert found.classes.tolist() == [kind]
    assert found.distances_m[0] == pytest.approx(distance, rel=1e-4)


@settings(deadline=None)
@given(single_boxes())
def test_a_mirrored_box_is_claimed_by_the_mirrored_cells(box):
    mirrored = np.array([[1 - box[0, 2], box[0, 1], 1 - box[0, 0], box[0, 3]]], np.float32)
    claimed, twin = (np.split(assign_cells(b, GRIDS) >= 0, [192]) for b in (box, mirrored))
    for part, other, grid in zip(claimed, twin, GRIDS, strict=True):
        differing = part.reshape(grid) ^ other.reshape(grid)[:, ::-1]
        assert differing.sum() <= 2 * grid[0]  # cells exactly on the rim may fall either way
    assert sum(part.any() for part in twin) == 1


def test_several_boxes_come_back_sorted_by_score():
    boxes = np.array([[0.1, 0.1, 0.25, 0.3], [0.5, 0.5, 0.65, 0.9], [0.2, 0.4, 0.9, 1.0]], np.float32)
    (found,) = decode(np.zeros((1, 4)), ideal_outputs(boxes, [0, 3, 5], [1, 2, 3]), **ARGUMENTS)
    assert sorted(found.classes.tolist()) == [0, 3, 5]
    assert (np.diff(found.scores) <= 0).all()


def test_of_two_boxes_in_one_cell_the_smaller_one_gets_it():
    boxes = np.array([[0.3, 0.3, 0.5, 0.5], [0.36, 0.36, 0.44, 0.44]], np.float32)
    owners = assign_cells(boxes, GRIDS)
    assert set(owners[owners >= 0]) == {1}


def test_no_box_claims_no_cell():
    assert (assign_cells(np.zeros((0, 4), np.float32), GRIDS) == -1).all()


@settings(deadline=None)
@given(arrays(np.float32, (1, 240, OUTPUTS), elements=st.floats(width=32)))
def test_any_output_of_a_broken_network_is_survived(raw):
    with np.errstate(all="ignore"):
        (found,) = decode(np.zeros((1, 4)), raw, **ARGUMENTS)
    assert np.isfinite(found.boxes).all()
    assert np.isfinite(found.distances_m).all()
    assert len(found.boxes) <= ARGUMENTS["max_detections"]


@pytest.mark.parametrize("shape", [(1, 239, OUTPUTS), (1, 240, 5), (2, 240, OUTPUTS), (240, OUTPUTS)])
def test_outputs_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="do not fit 240 cells"):
        decode(np.zeros((1, 4)), np.zeros(shape), **ARGUMENTS)


def test_suppression_keeps_the_better_of_two_that_overlap():
    boxes = np.array([[0, 0, 0.5, 0.5], [0.02, 0, 0.5, 0.5], [0.6, 0.6, 1, 1]], np.float32)
    assert suppress(boxes, np.array([0.9, 0.8, 0.7], np.float32), 0.5, limit=10).tolist() == [0, 2]
    assert suppress(boxes, np.array([0.9, 0.8, 0.7], np.float32), 0.5, limit=1).tolist() == [0]


def test_suppression_sorts_by_score_and_keeps_the_first_of_equals():
    boxes = np.array([[0, 0, 0.1, 0.1], [0.3, 0, 0.4, 0.1], [0.6, 0, 0.7, 0.1], [0.3, 0, 0.4, 0.1]], np.float32)
    assert suppress(boxes, np.array([0.7, 0.8, 0.9, 0.8], np.float32), 0.5, limit=10).tolist() == [2, 1, 0]
    assert suppress(boxes[:0], np.zeros(0, np.float32), 0.5, limit=10).tolist() == []


@pytest.mark.parametrize("seed", range(60))
def test_suppression_without_opencv_keeps_the_same_boxes(seed, monkeypatch):
    random = np.random.default_rng(seed)
    low = random.integers(0, 9, (40, 2)) / 8 if seed % 2 else random.random((40, 2))
    high = np.clip(low + random.integers(0, 4, (40, 2)) / 8, 0, 1)  # some without area, many equal
    boxes, scores = np.concatenate([low, high], axis=1).astype(np.float32), random.random(40).astype(np.float32)
    scores = np.round(scores, 1) if seed % 3 else scores
    arguments = (boxes, scores, float(random.choice([0.0, 0.3, 0.5, 1.0])), int(random.choice([3, 50])))
    expected = suppress(*arguments).tolist()
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert suppress(*arguments).tolist() == expected


def test_floor_probabilities_sum_to_one():
    (found,) = decode(np.array([[2.0, 1, 0, -100]]), np.zeros((1, 240, OUTPUTS)), **ARGUMENTS)
    assert found.floor.sum() == pytest.approx(1)
    assert FLOORS[found.floor.argmax()] == "wood"


def test_the_signature_is_json_and_fits_decode():
    assert json.loads(json.dumps(ARGUMENTS)) == ARGUMENTS


@pytest.mark.parametrize("size", [(90, 128), (96, 100), (0, 16), (-16, 16)])
def test_an_image_that_is_not_whole_cells_is_refused(size):
    with pytest.raises(ValueError, match="multiples of 16"):
        grid_shapes(*size)
