"""The contact sheet of a batch."""

import cv2
import numpy as np
import pytest

from sim2edge.capture.contact_sheet import choose_frames, class_colour, read_frame, write_contact_sheet
from sim2edge.capture.recorder import EpisodeResult
from sim2edge.capture.table import read_table
from sim2edge.recipes.perception import CLASSES


@pytest.fixture
def results(batch):
    return read_table(batch[2] / "aggregated_results.csv")


def episodes(results, *frames: int) -> list[EpisodeResult]:
    """Episodes of so many frames each."""
    return [results[0].model_copy(update={"episode_id": f"b.{k:04d}", "frames": n}) for k, n in enumerate(frames)]


def test_it_is_a_picture_and_the_same_bytes_every_time(batch, results, tmp_path):
    folder = batch[2]
    write_contact_sheet(tmp_path / "sheet.png", folder, results)
    assert (tmp_path / "sheet.png").read_bytes() == (folder / "contact_sheet.png").read_bytes()
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.shape[1] > 1000
    assert picture.std() > 20


def test_frames_are_read_back_as_they_were_logged(batch, results):
    frame = read_frame(batch[2] / results[0].episode_id / "simulation.mcap", 7)
    assert frame.image.shape == (48, 64, 3)
    assert frame.labels.floor
    with pytest.raises(RuntimeError, match="no frame 99"):
        read_frame(batch[2] / results[0].episode_id / "simulation.mcap", 99)


def test_few_episodes_give_several_frames_each_and_many_one_of_some(results):
    few = choose_frames(episodes(results, 100, 50), 4)
    assert [(result.episode_id, index) for result, index in few] == [
        *(("b.0000", 25), ("b.0000", 75)),
        *(("b.0001", 12), ("b.0001", 37)),
    ]
    many = choose_frames(episodes(results, *[10] * 100), 24)
    assert len(many) == 24
    assert len({result.episode_id for result, _ in many}) == 24
    assert {index for _, index in many} == {5}


def test_an_episode_shorter_than_its_share_gives_each_frame_once(results):
    assert [index for _, index in choose_frames(episodes(results, 2), 24)] == [0, 1]


def test_classes_have_colours_of_their_own():
    colours = np.array([class_colour(name) for name in CLASSES])
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=2) + 999 * np.eye(len(CLASSES))
    assert apart.min() > 60
