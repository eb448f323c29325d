"""Batches become datasets of other projects, whole or not at all; tests/datasets reads them by their libraries."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from clean.conftest import make_manifest
from clean.episode_files import make_tick, only_camera, write_episode

from sim2edge.convert.commands import convert, find_batch, new_folder, parser
from sim2edge.errors import BadInput


class Heard:
    """Progress that remembers what was logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, done: int, total: int, **metrics: object) -> None:
        """Nothing is checked of it."""

    def log(self, message: str, **fields: object) -> None:
        self.lines.append(message)


class Written(Heard):
    """What a conversion wrote and said."""

    def __init__(self, batch: Path, out: Path, *words: str) -> None:
        super().__init__()
        self.folder = out
        manifest = make_manifest("episodes", "toy").model_copy(
            update={"config": {"lidar": {"max_range_m": 8.0}}, "finished": datetime(2026, 11, 30, 12, tzinfo=UTC)}
        )
        arguments: argparse.Namespace = parser().parse_args(["toy", str(out), *words])
        with new_folder(out) as folder:
            convert(manifest, batch, folder, arguments, self)

    def json(self, path: str) -> Any:
        return json.loads((self.folder / path).read_text())

    @property
    def rows(self) -> list[dict[str, Any]]:
        return pq.read_table(self.folder / "data/chunk-000/file-000.parquet").to_pylist()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "catalog_0.catalog").read_text().splitlines()]


LEROBOT, TUB = ("--to", "lerobot"), ("--to", "donkeycar")


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """Two episodes of five ticks."""
    for index in range(2):
        write_episode(tmp_path / "toy", index)
    return tmp_path / "toy"


def refused(batch: Path, out: Path, *words: str) -> str:
    """The error of a conversion that leaves nothing behind."""
    with pytest.raises(BadInput) as error:
        Written(batch, out, *words)
    assert [path.name for path in out.parent.iterdir()] == ["toy"]
    return str(error.value)


def test_a_lerobot_dataset_has_the_ticks_of_each_episode(batch, tmp_path):
    made = Written(batch, tmp_path / "ds", *LEROBOT)
    row = made.rows[7]
    assert (row["episode_index"], row["frame_index"], row["index"]) == (1, 2, 7)
    assert row["timestamp"] == pytest.approx(0.2)
    assert row["observation.images.camera"]["bytes"] == make_tick(1, 2)["jpeg"]
    assert row["action"] == pytest.approx([0.5, -0.1])
    assert row["observation.state"] == pytest.approx([0.2, -0.2, 0.3])
    assert row["observation.lidar"][3] == 8.0, "no return is the largest range"
    assert made.json("meta/sim2edge.json")["lidar"]["no_return_m"] == 8.0
    assert made.json("meta/info.json")["features"]["observation.images.camera"]["shape"] == [60, 80, 3]
    assert made.json("meta/stats.json")["action"]["mean"] == pytest.approx([0.5, -0.1])
    assert made.lines[-1].endswith("2 episodes as lerobot; labels are not taken")


def test_the_statistics_of_images_are_those_of_their_pixels(batch, tmp_path):
    made = Written(batch, tmp_path / "ds", *LEROBOT).json("meta/stats.json")["observation.images.camera"]
    pixels = cv2.imdecode(np.frombuffer(make_tick(0, 0)["jpeg"], np.uint8), 1)[..., ::-1].reshape(-1, 3) / 255
    assert made["count"] == [1], "the first of ten"
    for name, found in {
        "mean": pixels.mean(0),
        "std": pixels.std(0),
        "min": pixels.min(0),
        "max": pixels.max(0),
    }.items():
        np.testing.assert_allclose(np.ravel(made[name]), found, atol=1e-9)
    np.testing.assert_allclose(np.ravel(made["q50"]), np.median(pixels, 0), atol=1 / 255)


def test_dropped_ticks_divide_an_episode_of_lerobot(tmp_path):
    def drop(tick: int, content: dict[str, Any]) -> None:
        if tick >= 2:
            content["time"] = content["scan_time"] = (tick + 3) * 100_000_000

    write_episode(tmp_path / "toy", 0, change=drop)
    made = Written(tmp_path / "toy", tmp_path / "ds", *LEROBOT)
    assert [row["episode_index"] for row in made.rows] == [0, 0, 1, 1, 1]
    assert [each["first_tick"] for each in made.json("meta/sim2edge.json")["episodes"]] == [0, 5]
    assert "dropped ticks divide 1 episodes into 2" in made.lines


def test_what_not_every_episode_has_is_left_out(batch, tmp_path):
    def without_pose(tick: int, content: dict[str, Any]) -> None:
        content["pose"] = None

    write_episode(batch, 2, change=without_pose)
    made = Written(batch, tmp_path / "ds", *LEROBOT)
    assert "observation.state" not in made.rows[0]
    assert "observation.lidar" in made.rows[0]
    assert "not in every episode, left out: /robot/pose" in made.lines


def test_a_tub_has_shares_of_the_largest_command(batch, tmp_path):
    made = Written(batch, tmp_path / "tub", *TUB)
    record = made.records[6]
    assert (record["user/throttle"], record["user/angle"], record["user/mode"]) == (1, 1, "user")
    assert (record["_index"], record["_session_id"]) == (6, "26-11-30_1")
    assert (made.folder / "images" / record["cam/image_array"]).read_bytes() == make_tick(1, 1)["jpeg"]
    assert made.records[5]["_timestamp_ms"] - made.records[4]["_timestamp_ms"] == 60_000
    about = json.loads((made.folder / "catalog_0.catalog_manifest").read_text())
    assert sum(about["line_lengths"]) == (made.folder / "catalog_0.catalog").stat().st_size
    assert made.lines[:2] == [
        "throttle 1 is 0.5 m/s, angle -1 is 0.1 rad/s to the left",
        "a tub has no place for /lidar/scan, /robot/pose: left out",
    ]


def test_a_tub_takes_the_scale_that_is_named(batch, tmp_path):
    made = Written(batch, tmp_path / "tub", *TUB, "--full-speed", "2", "--full-turn", "0.4")
    assert made.records[0]["user/throttle"] == 0.25
    assert made.records[0]["user/angle"] == 0.25


def test_only_successful_episodes_are_taken_if_asked_for(batch, tmp_path):
    write_episode(batch, 2, result={"success": False, "failure_reason": "collision"})
    assert "3 episodes, 1 of them not successful as lerobot" in Written(batch, tmp_path / "a", *LEROBOT).lines[-1]
    made = Written(batch, tmp_path / "b", *LEROBOT, "--only-successful")
    assert [each["episode_id"] for each in made.json("meta/sim2edge.json")["episodes"]] == ["toy.0000", "toy.0001"]


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ({}, (*TUB, "--full-speed", "0.4"), "toy.0000: tick 0: the command is 1.25 of --full-speed"),
        ({"jpeg": b"no image"}, LEROBOT, "toy.0002: tick 0: an image cannot be decoded"),
        ({"control": None}, TUB, "toy.0002/simulation.mcap: no messages on /robot/control"),
        ({"ranges": [1.0] * 12}, LEROBOT, "toy.0002: observation.lidar: [12], before [36]: a LeRobot dataset has one"),
    ],
)
def test_what_cannot_be_converted_is_one_line_and_leaves_nothing(batch, tmp_path, change, words, said):
    write_episode(batch, 2, change=lambda tick, content: content.update(change))
    assert refused(batch, tmp_path / "out", *words).startswith(said)


def test_a_damaged_episode_is_named(batch, tmp_path):
    log = batch / "toy.0001" / "simulation.mcap"
    log.write_bytes(log.read_bytes()[:-40])
    assert refused(batch, tmp_path / "out", *LEROBOT).startswith("toy.0001/simulation.mcap: missing, damaged or trunc")
    (batch / "toy.0001" / "result.json").write_text("{}")
    assert refused(batch, tmp_path / "out", *LEROBOT) == "toy.0001: result.json: missing or invalid"


def test_a_batch_without_success_is_refused_if_only_success_is_asked_for(tmp_path):
    write_episode(tmp_path / "toy", 0, result={"success": False, "failure_reason": "unlabelled"})
    assert refused(tmp_path / "toy", tmp_path / "out", *TUB, "--only-successful") == (
        "none of 1 episodes succeeded: omit --only-successful to take them all"
    )


def test_an_episode_without_scans_and_poses_has_what_it_has(tmp_path):
    write_episode(tmp_path / "toy", 0, change=only_camera)
    said = refused(tmp_path / "toy", tmp_path / "out", *LEROBOT)
    assert said == "toy.0000/simulation.mcap: no messages on /robot/control"


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    for path, said in ((tmp_path / "out", "exists: name a new folder"), (tmp_path / "a/b", "does not exist")):
        with pytest.raises(BadInput, match=said), new_folder(path):
            pass
    assert not list((tmp_path / "out").iterdir())


def test_only_episodes_can_be_converted(s3, toy_stages, partition):
    with pytest.raises(BadInput, match="not an artifact reference"):
        find_batch(s3, "nothing")
