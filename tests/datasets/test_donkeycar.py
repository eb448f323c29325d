"""Tubs written by donkeycar's library are ingested as it reads them; what we convert, it reads back as we have it."""

import numpy as np
import pytest
from datasets.conftest import commands

from sim2edge.convert.episodes import pixels_of

pytestmark = pytest.mark.slow


def test_a_tub_of_the_library_becomes_a_batch(donkeycar, command, ticks, partition, tmp_path):
    """The library writes 20 records a second, as a car does; a batch has 10 ticks a second."""
    root = tmp_path / "tub"
    donkeycar("write", root)
    command("ingest", root, "--partition", partition, "dataset.full_speed_m_s=2", "dataset.full_turn_rad_s=3")
    found = ticks(partition)
    with np.load(f"{root}.npz") as read:
        assert read["length"] == len(read["images"]) == 23
        assert len(found) == len(set(read["sessions"]))
        files = {path.read_bytes(): path for path in (root / "images").iterdir()}
        index = {int(number): at for at, number in enumerate(read["_index"])}
        total = 0
        for ticks_of_one in found.values():
            for tick in ticks_of_one:
                number = int(files[tick.jpeg].name.split("_")[0])
                at = index[number]  # a KeyError would be a deleted record
                wanted = (2 * read["user.throttle"][at], -3 * read["user.angle"][at])
                np.testing.assert_allclose(tick.command, wanted, atol=1e-9)
                np.testing.assert_allclose(pixels_of(tick.jpeg).astype(int), read["images"][at], atol=3)
                total += 1
        print(f"\n{total} ticks of {len(index)} records in {len(found)} sessions; deleted: none of them")
        assert total >= 10


def test_the_library_reads_our_batch_back(donkeycar, command, ticks, capture_batch, s3, partition, tmp_path):
    capture_batch(s3, partition, "episodes=3")
    command("convert", partition, tmp_path / "tub", "--to", "donkeycar")
    donkeycar("read", tmp_path / "tub", tmp_path / "read.npz")
    episodes = ticks(partition)
    every = [tick for each in episodes.values() for tick in each]
    with np.load(tmp_path / "read.npz") as read:
        assert read["length"] == len(every) == len(read["images"])
        assert read["_index"].tolist() == list(range(len(every)))
        assert len(set(read["sessions"])) == len(episodes)
        scale = dict(text.split(":", 1) for text in read["metadata"])
        speed, turn = float(scale["full_speed_m_s"]), float(scale["full_turn_rad_s"])
        back = np.stack([read["user.throttle"] * speed, read["user.angle"] * -turn], axis=1)
        np.testing.assert_allclose(back, commands(every), atol=1e-12)
        assert max(np.abs(read["user.throttle"]).max(), np.abs(read["user.angle"]).max()) == 1
        ours = np.stack([pixels_of(tick.jpeg) for tick in every]).astype(int)
        away = np.abs(read["images"] - ours).max()
        print(f"\n{len(every)} records in {len(episodes)} sessions; images differ by {away} of 255")
        assert away <= 3
        steps = np.diff(read["_timestamp_ms"])
        assert set(steps[np.diff([len(set(read["sessions"][: n + 1])) for n in range(len(every))]) == 0]) == {100}


def test_what_was_converted_comes_back_with_its_scale(command, ticks, capture_batch, s3, partition, tmp_path):
    capture_batch(s3, partition)
    command("convert", partition, tmp_path / "tub", "--to", "donkeycar")
    again = f"{partition}-again"
    command("ingest", tmp_path / "tub", "--partition", again)
    for one, other in zip(ticks(partition).values(), ticks(again).values(), strict=True):
        assert [tick.jpeg for tick in one] == [tick.jpeg for tick in other]
        np.testing.assert_allclose(commands(one), commands(other), atol=1e-12)
