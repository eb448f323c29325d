"""A drive that was cut into pieces is never divided by a split, in one batch or in several; others are as before."""

import json
from typing import Any

import pyarrow as pa
import pytest
from augment.frame_files import make_row, rows_of, write_batch

from sim2edge.augment.split import SPLITS, split_of
from sim2edge.errors import BadInput
from sim2edge.frames.columns import ORIGIN, frames_schema
from sim2edge.frames.continuity import Moment
from sim2edge.frames.drives import Piece, find_drives

START_S = 1.7e9


def batch_of(tmp_path, name: str, rows: list[dict[str, Any]]):
    return write_batch(tmp_path, name, table=pa.Table.from_pylist(rows, frames_schema()), frames=len(rows))


def piece(episode_id: str, number: int, drive: str | None = None, frames: int = 6) -> list[dict[str, Any]]:
    """The frames of piece `number` of a drive along x at 0.5 m/s."""
    rows = []
    for frame in range(frames):
        at = (number * frames + frame) / 10
        origin = {"drive": drive, "recorded_s": START_S + at, "x_m": 0.5 * at, "y_m": 0.0}
        rows.append(make_row(episode_id, frame) | origin)
    return rows


def others(name: str, episodes: int = 24) -> list[dict[str, Any]]:
    return [make_row(f"{name}.{episode:04d}", frame) for episode in range(100, 100 + episodes) for frame in range(6)]


def splits_of(folder) -> dict[str, str]:
    return {row["episode_id"]: split for split in SPLITS for row in rows_of(folder, split)}


@pytest.mark.parametrize("drive", [None, "hall"])
@pytest.mark.parametrize("batches", [1, 2, 8])
def test_a_drive_in_eight_files_is_in_one_split(tmp_path, augment, batches, drive):
    names = [f"b{at % batches}.{at:04d}" for at in range(8)]
    made = []
    for batch in range(batches):
        rows = [row for at, name in enumerate(names) if at % batches == batch for row in piece(name, at, drive)]
        made.append(batch_of(tmp_path, f"b{batch}", rows + (others("b0") if batch == 0 else [])))
    folder = augment(*made, copies=0)
    splits = splits_of(folder)
    assert len({splits[name] for name in names}) == 1
    assert splits[names[0]] == split_of(drive or "b0.0000", 0.25, 0.25)
    counts = json.loads((folder / "dataset.json").read_text())["splits"]
    assert sum(each["episodes"] for each in counts.values()) == 32
    assert sum(each["drives"] for each in counts.values()) == 25


def test_without_the_pieces_of_one_drive_each_episode_is_drawn_by_its_id(tmp_path, augment):
    splits = splits_of(augment(batch_of(tmp_path, "one", others("one")), copies=0))
    assert all(split == split_of(name, 0.25, 0.25) for name, split in splits.items())


def test_a_later_piece_moves_no_earlier_one(tmp_path, augment):
    first = batch_of(tmp_path, "b0", others("b0") + piece("b0.0000", 0))
    before = splits_of(augment(first, copies=0))
    later = batch_of(tmp_path, "a1", [*piece("a1.0000", 1), *piece("a1.0001", 2)])
    after = splits_of(augment(first, later, copies=0))
    assert before.items() <= after.items()
    assert after["a1.0000"] == after["a1.0001"] == before["b0.0000"]


def test_frames_of_an_earlier_version_have_no_origin_and_are_read(tmp_path, augment):
    table = pa.Table.from_pylist(others("one"), frames_schema()).drop_columns(list(ORIGIN))
    folder = augment(write_batch(tmp_path, "one", table=table), copies=1)
    assert all(row["drive"] is None and row["recorded_s"] is None for row in rows_of(folder, "train"))
    assert all(split == split_of(name, 0.25, 0.25) for name, split in splits_of(folder).items())


def test_an_empty_split_names_the_drives(tmp_path, augment):
    rows = [row for at in range(8) for row in piece(f"one.{at:04d}", at)]
    with pytest.raises(BadInput, match=r"none of 8 episodes \(1 drives\) falls into it"):
        augment(batch_of(tmp_path, "one", rows))


def moment(time_s: float, x_m: float | None = 0.0) -> Moment:
    return Moment(time_s, x_m, None if x_m is None else 0.0)


def test_pieces_are_joined_by_declaration_and_by_continuity():
    pieces = [
        Piece("a", "hall"), Piece("b", "hall"), Piece("c"), Piece("d", None, moment(10), moment(20, 3.0)),
        Piece("e", None, moment(20.1, 3.05), moment(30, 9.0)), Piece("f", None, moment(30.1, 20.0), moment(40, 9.0)),
        Piece("g", "hall", moment(41, 9.2), moment(50)),
    ]  # fmt: skip
    keys = find_drives(pieces)
    assert keys["c"] == "c"
    assert keys["d"] == keys["e"] == "d"
    assert keys["f"] == keys["g"] == keys["a"] == keys["b"]


@pytest.mark.parametrize(
    ("other", "joined"),
    [
        (Piece("b", "x_2026-11-30-12-00-10", moment(20.5, None), moment(30, None)), True),
        (Piece("b", "x_2026-11-30-12-30-00", moment(1800, None), moment(1810, None)), False),  # much later
        (Piece("b", "y_2026-11-30-12-00-10", moment(20.5, None), moment(30, None)), False),  # of another robot
        (Piece("b", "x_2026-11-30-12-00-10", moment(20.5, 99.0), moment(30, 99.0)), False),  # elsewhere
        (Piece("b", "hall", moment(20.5, None), moment(30, None)), False),
        (Piece("b", None, moment(20.5, None), moment(30, None)), False),
    ],
)
def test_pieces_in_several_batches_whose_recorder_dates_each(other, joined):
    first_x = other.first.x_m and 0.0
    keys = find_drives([other, Piece("a", "x_2026-11-30-12-00-00", moment(10, first_x), moment(20, first_x))])
    assert (keys["a"] == keys["b"]) is joined
    assert keys["a"] == "x_2026-11-30-12-00-00"
