"""The contact sheet of a batch."""

import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.capture.contact_sheet import choose_frames, class_colour, read_frame, write_contact_sheet
from sim2edge.episodes.result import EpisodeResult
from sim2edge.episodes.table import read_table
from sim2edge.recipes.perception import CLASSES


@pytest.fixture(scope="module")
def results(batch):
    return read_table(batch[2] / "aggregated_results.csv")


def episodes(results, *frames: int) -> list[EpisodeResult]:
    """Episodes of so many frames each."""
    return [results[0].model_copy(update={"episode_id": f"b.{k:04d}", "frames": n}) for k, n in enumerate(frames)]


def test_it_is_a_picture_and_the_same_bytes_every_time(batch, results, tmp_path):
    folder = shutil.copytree(batch[2], tmp_path / "again")
    for made in folder.glob("contact_sheet*"):
        made.unlink()
    write_contact_sheet(folder, results, len(results))
    made = sorted(folder.glob("contact_sheet*"))
    assert len(made) == 25
    assert [path.read_bytes() for path in made] == [(batch[2] / path.name).read_bytes() for path in made]
    picture = cv2.imread(str(folder / "contact_sheet.png"))
    assert picture.shape[1] > 1000
    assert picture.std() > 20


def test_frames_are_read_back_as_they_were_logged(batch, results):
    frame = read_frame(batch[2] / results[0].episode_id / "simulation.mcap", 7)
    assert frame.image.shape == (48, 64, 3)
    assert frame.labels.floor
    with pytest.raises(RuntimeError, match="no frame 99"):
        read_frame(batch[2] / results[0].episode_id / "simulation.mcap", 99)


def test_few_episodes_show_several_frames_each(results):
    chosen = choose_frames(episodes(results, 120, 60), 2)
    assert [place for place, _, _ in chosen] == list(range(24))
    assert [result.episode_id for _, result, _ in chosen] == ["b.0000"] * 12 + ["b.0001"] * 12
    assert [index for _, _, index in chosen[::6]] == [5, 65, 2, 32]


def test_many_episodes_show_the_middle_frame_of_some(results):
    chosen = choose_frames(episodes(results, *[10] * 100), 100)
    assert len({result.episode_id for _, result, _ in chosen}) == len(chosen) == 24
    assert {index for _, _, index in chosen} == {5}


def test_an_episode_shorter_than_its_share_shows_each_frame_once(results):
    assert [index for _, _, index in choose_frames(episodes(results, 2), 1)] == [0, 1]


@given(total=st.integers(1, 300), shards=st.integers(1, 7))
def test_shards_show_together_what_the_batch_shows(results, total, shards):
    every = episodes(results, *[9] * total)
    together = [place for k in range(shards) for place in choose_frames(every[k::shards], total)]
    assert sorted(together, key=lambda each: each[0]) == choose_frames(every, total)


def test_classes_have_colours_of_their_own():
    colours = np.array([class_colour(name) for name in CLASSES])
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=2) + 999 * np.eye(len(CLASSES))
    assert apart.min() > 60
