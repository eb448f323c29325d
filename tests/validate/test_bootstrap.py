"""Resampled metrics against COCO's own evaluation, and intervals that can be worked out by hand."""

import dataclasses

import numpy as np
import pytest

from sim2edge.recipes.perception import Detections
from sim2edge.recipes.perception_frames import Frames
from sim2edge.recipes.perception_metrics import mean_average_precision
from sim2edge.validate.bootstrap import average_precisions, draw_weights, interval, match_all, resample
from sim2edge.validate.rules import paired

CLASSES = 3


def random_boxes(random, count):
    low = random.uniform(0, 0.6, (count, 2))
    return np.concatenate([low, low + random.uniform(0.1, 0.4, (count, 2))], axis=1).astype(np.float32)


def random_scene(seed, count=24, most=5):
    """Frames of random boxes, and detections: each box moved a little or lost, and some that are nothing."""
    random = np.random.default_rng(seed)
    sizes = random.integers(0, most, count)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    boxes, classes = random_boxes(random, starts[-1]), random.integers(0, CLASSES, starts[-1])
    distances = random.uniform(0.3, 4, starts[-1]).astype(np.float32)
    frames = Frames(
        np.zeros((count, 96, 128, 3), np.uint8), random.integers(0, 2, count), starts, boxes, classes, distances,
        tuple(map(str, range(count))),
    )  # fmt: skip
    detections = []
    for n in range(count):
        span = slice(starts[n], starts[n + 1])
        near = np.clip(boxes[span] + random.normal(0, 0.03, boxes[span].shape), 0, 1)
        found = np.concatenate([near[random.random(len(near)) < 0.8], random_boxes(random, 3)]).astype(np.float32)
        scores = np.sort(random.uniform(0.05, 1, len(found)).astype(np.float32))[::-1]
        floor = random.random(2).astype(np.float32)
        kinds, far = random.integers(0, CLASSES, len(found)), random.uniform(0.3, 4, len(found)).astype(np.float32)
        detections.append(Detections(floor, found, scores, kinds, far))
    return frames, detections


def repeat(frames, detections, times):
    """The frames and detections with frame n `times[n]` times, as a real resample would hold them."""
    order = np.repeat(np.arange(len(frames)), times)
    spans = [np.arange(frames.starts[n], frames.starts[n + 1]) for n in order]
    rows = np.concatenate(spans)
    starts = np.concatenate([[0], np.cumsum([len(span) for span in spans])])
    drawn = dataclasses.replace(
        frames, images=frames.images[order], floors=frames.floors[order], starts=starts, boxes=frames.boxes[rows],
        classes=frames.classes[rows], distances_m=frames.distances_m[rows], names=tuple(map(str, order)),
    )  # fmt: skip
    return drawn, [detections[n] for n in order]


@pytest.mark.parametrize("seed", range(5))
def test_a_weighted_resample_has_the_map_of_cocos_evaluation_of_the_repeated_frames(seed):
    frames, detections = random_scene(seed)
    times = np.random.default_rng(seed).integers(0, 4, len(frames)) if seed else np.ones(len(frames), np.int64)
    samples = resample(frames, detections, detections, CLASSES, times[None].astype(float))
    at_50, at_50_95, per_class = mean_average_precision(*repeat(frames, detections, times), CLASSES)
    assert samples["map_50"][0] == pytest.approx(at_50, abs=1e-12)
    assert samples["map_50_95"][0] == pytest.approx(at_50_95, abs=1e-12)
    assert samples["class_ap_50"][0] == pytest.approx([np.nan if ap is None else ap for ap in per_class], nan_ok=True)


def test_a_class_that_a_resample_lacks_has_no_precision_and_leaves_the_mean_alone():
    frames, detections = random_scene(3)
    without = np.array([0 not in frames.classes[frames.starts[n] : frames.starts[n + 1]] for n in range(len(frames))])
    samples = resample(frames, detections, detections, CLASSES, without[None].astype(float))
    assert np.isnan(samples["class_ap_50"][0, 0])
    assert samples["map_50"][0] == pytest.approx(samples["class_ap_50"][0, 1:].mean())


def test_a_resample_without_a_true_box_has_no_mean_precision():
    frames, detections = random_scene(3)
    none = (np.diff(frames.starts) == 0).astype(float)
    samples = resample(frames, detections, detections, CLASSES, none[None])
    assert none.any()
    assert np.isnan([samples["map_50"][0], samples["map_50_95"][0]]).all()


def test_models_that_see_nothing_have_a_precision_of_zero():
    frames, detections = random_scene(1)
    blind = [Detections(found.floor, *(getattr(found, name)[:0] for name in SEEN)) for found in detections]
    samples = resample(frames, blind, blind, CLASSES, np.ones((2, len(frames))))
    assert samples["map_50"].tolist() == [0, 0]
    assert np.isnan(samples["distance_error_m"]).all()


SEEN = ("boxes", "scores", "classes", "distances_m")


def test_blocks_of_resamples_make_no_difference(monkeypatch):
    frames, detections = random_scene(2)
    matches, weights = match_all(frames, detections, CLASSES), draw_weights(np.arange(24) // 4, 30)
    whole = average_precisions(matches, weights)
    monkeypatch.setattr("sim2edge.validate.bootstrap.MAX_ELEMENTS", 100)
    assert np.array_equal(average_precisions(matches, weights), whole, equal_nan=True)


def test_whole_episodes_are_drawn_and_the_same_ones_each_time():
    episodes = np.array([0, 0, 0, 1, 1, 2])
    weights = draw_weights(episodes, 50)
    assert (weights[:, :3] == weights[:, :1]).all()
    assert (weights[:, [0, 3, 5]].sum(axis=1) == 3).all()
    assert np.array_equal(weights, draw_weights(episodes, 50))


def test_an_interval_covers_what_it_says():
    """Means of 30 draws from a known distribution: about nine in ten intervals hold the true mean."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        values = random.normal(0.3, 1.0, 30)
        weights = draw_weights(np.arange(30), 200) / 30
        low, high = interval(weights @ values, 0.9)
        held += low <= 0.3 <= high
    assert 165 <= held <= 195


def test_an_interval_leaves_out_what_is_no_number():
    assert interval(np.array([np.nan, 1.0, 2.0]), 0.9) == (1.0, 2.0)
    assert interval(np.array([np.nan]), 0.9) is None


def test_a_resample_in_which_only_the_model_has_no_number_is_infinitely_bad():
    nothing, some = np.array([np.nan, np.nan, 1.0]), np.array([np.nan, 2.0, 2.0])
    assert np.array_equal(paired(nothing, some, True), [np.nan, -np.inf, -1], equal_nan=True)
    assert np.array_equal(paired(nothing, some, False), [np.nan, np.inf, -1], equal_nan=True)
