"""Datasets written by LeRobot's library are ingested as it reads them; what we convert, it reads back as we have it."""

import json

import numpy as np
import pytest
from datasets.conftest import commands

from sim2edge.convert.episodes import pixels_of

pytestmark = pytest.mark.slow
LENGTHS = (15, 12, 20)


@pytest.mark.parametrize(("kind", "codec"), [("video", "libsvtav1"), ("video", "h264"), ("image", "h264")])
def test_a_dataset_of_the_library_becomes_a_batch(lerobot, command, ticks, partition, tmp_path, kind, codec):
    lerobot("write", tmp_path / "ds", kind, codec)
    command("ingest", tmp_path / "ds", "--partition", partition)
    again = json.loads(command("ingest", tmp_path / "ds", "--partition", partition)[-1])
    assert again["cached"], "the same dataset is the same delivery"
    with np.load(tmp_path / "ds.npz") as written:
        pictures, frames = written["pictures"].astype(int), written["frames"].astype(int)
    found = ticks(partition)
    assert [len(each) for each in found.values()] == list(LENGTHS)
    every = [tick for each in found.values() for tick in each]
    wanted = [(0.1 + 0.01 * number, np.radians(-45 + number)) for number in range(sum(LENGTHS))]
    np.testing.assert_allclose(commands(every), wanted, rtol=1e-6)
    images = np.stack([pixels_of(tick.jpeg) for tick in every]).astype(int)
    away = np.abs(images - pictures).mean(axis=(1, 2, 3))
    decoded = np.abs(images - frames).mean(axis=(1, 2, 3)) if kind == "video" else away
    print(f"\n{kind} {codec}: mean distance to what was written {away.max():.2f}, to FFmpeg {decoded.max():.2f} of 255")
    assert away.max() < 4
    assert decoded.max() < 2
    nearest = [int(np.abs(pictures - image).mean(axis=(1, 2, 3)).argmin()) for image in images]
    assert nearest == list(range(sum(LENGTHS)))


FIRST, SECOND, THIRD = LENGTHS
ALL = sum(LENGTHS)


@pytest.mark.parametrize(
    ("name", "lengths", "numbers"),
    [
        ("merged", 2 * LENGTHS, range(2 * ALL)),
        ("shortened", (FIRST, THIRD), (*range(FIRST), *range(FIRST + SECOND, ALL))),
    ],
)
def test_a_dataset_that_was_edited_has_its_frames(edited, command, ticks, partition, name, lengths, numbers):
    command("ingest", edited / name, "--partition", partition)
    found = ticks(partition)
    assert [len(each) for each in found.values()] == list(lengths)
    every = [tick for each in found.values() for tick in each]
    wanted = [(0.1 + 0.01 * number, np.radians(-45 + number)) for number in numbers]
    np.testing.assert_allclose(commands(every), wanted, rtol=1e-6, atol=1e-9)
    with np.load(f"{edited}.npz") as written:
        pictures = written["pictures"].astype(int)
    for tick, number in zip(every, numbers, strict=True):
        assert np.abs(pictures[number] - pixels_of(tick.jpeg)).mean() < 4, number


@pytest.fixture(scope="module")
def edited(lerobot, tmp_path_factory):
    root = tmp_path_factory.mktemp("edited") / "of"
    root.mkdir()
    lerobot("edit", root)
    assert len(list((root / "first").rglob("*.mp4"))) > 1
    return root


def test_the_library_reads_our_batch_back(lerobot, command, ticks, capture_batch, s3, partition, tmp_path):
    capture_batch(s3, partition, "episodes=3")
    command("convert", partition, tmp_path / "ds", "--to", "lerobot")
    about = json.loads(lerobot("read", tmp_path / "ds", tmp_path / "read.npz"))
    episodes = ticks(partition)
    every = [tick for each in episodes.values() for tick in each]
    assert (about["len"], about["episodes"], about["fps"]) == (len(every), len(episodes), 10)
    assert about["cameras"] == ["observation.images.camera"]
    assert about["last"] == len(list(episodes.values())[-1])
    with np.load(tmp_path / "read.npz") as read:
        ends = np.cumsum([len(each) for each in episodes.values()])
        assert read["boundaries"].tolist() == [
            [end - len(each), end] for end, each in zip(ends, episodes.values(), strict=True)
        ]
        np.testing.assert_array_equal(read["action"], commands(every).astype(np.float32))
        np.testing.assert_array_equal(read["observation.state"], np.array([t.pose for t in every], np.float32))
        scans = np.array([tick.ranges for tick in every], np.float32)
        np.testing.assert_array_equal(read["observation.lidar"], np.minimum(scans, np.float32(8.0)))
        images = np.round(read["observation.images.camera"].transpose(0, 2, 3, 1) * 255).astype(int)
        # Pillow and OpenCV decode a JPEG with a level of difference here and there.
        ours = np.stack([pixels_of(tick.jpeg) for tick in every]).astype(int)
        away = np.abs(images - ours).max()
        print(f"\n{len(every)} frames of {len(episodes)} episodes; images differ by {away} of 255")
        assert away <= 3
        starts = {end - len(each) for end, each in zip(ends, episodes.values(), strict=True)}
        before = [max(number - 1, 0) if number not in starts else number for number in range(len(every))]
        np.testing.assert_array_equal(read["past"][:, 0], read["action"][before])
        np.testing.assert_allclose(read["stats/action/mean"], commands(every).mean(0), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(
            read["stats/observation.images.camera/mean"].ravel(), images.reshape(-1, 3).mean(0) / 255, atol=0.05
        )


def test_what_was_converted_comes_back(command, ticks, capture_batch, s3, partition, tmp_path):
    capture_batch(s3, partition)
    command("convert", partition, tmp_path / "ds", "--to", "lerobot")
    again = f"{partition}-again"
    command("ingest", tmp_path / "ds", "--partition", again, "lidar.max_range_m=8")
    for one, other in zip(ticks(partition).values(), ticks(again).values(), strict=True):
        assert [tick.jpeg for tick in one] == [tick.jpeg for tick in other]
        np.testing.assert_allclose(commands(one), commands(other), rtol=1e-6)
        np.testing.assert_allclose([tick.pose for tick in one], [tick.pose for tick in other], atol=1e-6)
        np.testing.assert_allclose([tick.ranges for tick in one], [tick.ranges for tick in other], rtol=1e-6)
