"""Pieces of one drive are told from drives of their own: by the config, by names, by time and pose."""

import json
from dataclasses import replace

import pytest
from ingest.foreign_logs import START_NS, TICK_NS, header, robot_drive, write_bag
from pydantic import ValidationError

from sim2edge.frames.continuity import Moment
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.drives import Origin, name_drives

NOW = 1.7e9


def origin(path: str, start_s: float = NOW, at: float | None = 0.0, to: float | None = 5.0) -> Origin:
    """A log of one minute, from x = `at` to `to`."""
    first, last = Moment(start_s, at, at and 0.0), Moment(start_s + 60, to, to and 0.0)
    return Origin(f"id-{path}", path, first, last)


def groups(*origins: Origin, **config) -> list[str | None]:
    return name_drives(origins, IngestConfig(**config))


def test_one_begins_when_and_where_another_ends():
    pieces = origin("x.mcap"), origin("y.mcap", NOW + 60.2, at=5.1, to=9.0), origin("z.mcap", NOW + 121, at=9.5)
    assert groups(*pieces) == ["id-x.mcap"] * 3
    assert groups(*reversed(pieces)) == ["id-x.mcap"] * 3


@pytest.mark.parametrize(
    "other",
    [
        origin("y.mcap", NOW + 60.2, at=7.0),  # elsewhere
        origin("y.mcap", NOW + 300, at=5.0),  # much later
        origin("y.mcap", NOW, at=5.0),  # at the same time
        origin("y.mcap", NOW + 60.2, at=None, to=None),  # without poses
        origin("y.mcap", 0.0, at=5.0),  # of another clock
    ],
)
def test_a_drive_of_its_own_stays_alone(other):
    assert groups(origin("x.mcap"), other) == [None, None]


def test_numbered_names_need_no_pose_but_the_time():
    assert groups(origin("a_0.mcap", to=None), origin("a_1.mcap", NOW + 68, at=None)) == ["id-a_0.mcap"] * 2
    assert groups(origin("a-9.bag", to=None), origin("a-10.bag", NOW + 60, at=None)) == ["id-a-9.bag"] * 2
    assert groups(origin("run_1.mcap"), origin("run_2.mcap", NOW + 3600)) == [None, None]
    assert groups(origin("x/a_0.mcap"), origin("y/a_1.mcap", NOW + 61, at=40.0)) == [None, None]
    assert groups(origin("sim_0.mcap", 0.0), origin("sim_1.mcap", 0.0)) == [None, None]


def test_numbers_may_follow_letters_directly():
    assert groups(origin("x1.bag", to=None), origin("x2.bag", NOW + 60, at=None)) == ["id-x1.bag"] * 2
    assert groups(origin("run9.mcap", to=None), origin("run10.mcap", NOW + 69, at=None)) == ["id-run9.mcap"] * 2
    assert groups(origin("run9.mcap"), origin("run10.mcap", NOW + 3600)) == [None, None]
    assert groups(origin("x1.bag", to=None), origin("y2.bag", NOW + 60, at=None)) == [None, None]


SPLIT = "2026-11-30-12-{}_{}.bag"
"""As `rosbag record --split` names the pieces, each with its own date."""


def test_pieces_with_dates_of_their_own_are_one_drive():
    pieces = [origin(SPLIT.format(f"0{n}-00", n), NOW + 60 * n, at=None, to=None) for n in range(3)]
    assert groups(*pieces) == groups(*reversed(pieces)) == ["2026-11-30-12-00-00"] * 3
    moving = [origin(f"b_{SPLIT.format(f'0{n}-00', n)}", NOW + 60 * n, at=0.0, to=90.0) for n in range(2)]
    assert groups(*moving) == ["b_2026-11-30-12-00-00"] * 2


def test_recordings_with_dates_that_do_not_follow_each_other_are_drives_of_their_own():
    later = origin(SPLIT.format("09-00", 1), NOW + 540, at=None, to=None)
    assert groups(origin(SPLIT.format("00-00", 0), to=None), later) == ["2026-11-30-12-00-00", "2026-11-30-12-09-00"]
    other = origin("left_" + SPLIT.format("01-00", 1), NOW + 60, at=None)
    assert groups(origin("right_" + SPLIT.format("00-00", 0), to=None), other) == [
        "right_2026-11-30-12-00-00",
        "left_2026-11-30-12-01-00",
    ]


def test_pieces_of_one_session_are_one_drive_however_long_the_pause():
    one, other = (replace(origin(f"s.00{n}.mcap", NOW + 900 * n), session="a") for n in (1, 2))
    assert groups(one, other) == ["id-s.001.mcap"] * 2
    assert groups(one, replace(other, session="b")) == [None, None]


def test_a_recorders_own_name_with_a_date_is_a_drive_in_every_batch():
    name = "rosbag2_2026_11_30-12_00_00"
    assert groups(origin(f"{name}_3.db3.zstd")) == [name]
    assert groups(origin(f"mon/{name}_0.mcap"), origin("other.mcap", NOW + 900)) == [name, None]


def test_the_config_names_drives():
    logs = origin("a/run-7_x.mcap"), origin("b/run-7_y.mcap", NOW + 900), origin("c.mcap", NOW + 1800)
    assert groups(*logs, drive="hall") == ["hall"] * 3
    assert groups(*logs, drive_pattern="(run-[0-9]+)") == ["run-7", "run-7", None]


@pytest.mark.parametrize("pattern", ["run-[0-9]+", "(run"])
def test_a_pattern_that_names_nothing(pattern):
    with pytest.raises(ValidationError, match="drive_pattern"):
        IngestConfig(drive_pattern=pattern)


@pytest.mark.slow
def test_ten_thousand_logs_are_quick():
    found = groups(*(origin(f"run_{n}.mcap", NOW + 61 * n, at=5.0 * n, to=5.0 * (n + 1)) for n in range(10_000)))
    assert set(found) == {"id-run_0.mcap"}


def cut_drive(ticks: int, pieces: int) -> list[list]:
    """A drive of a robot, cut into pieces as a recorder splits it."""
    sent = list(robot_drive(ticks))
    length = ticks // pieces * TICK_NS
    return [[each for each in sent if (each[2] - START_NS) // length == piece] for piece in range(pieces)]


def test_the_command_declares_the_pieces(folder, ingest, fetch, partition):
    for number, sent in enumerate(cut_drive(12, 3)):
        write_bag(folder / f"part{'abc'[number]}.mcap", sent)
    later = [(*each[:2], each[2] + 10**12, _stamped(each)) for each in robot_drive(4)]
    write_bag(folder / "z.mcap", later)
    result = ingest(folder)
    _, made = fetch(result)
    told = [json.loads((made / f"{partition}.{n:04d}" / "result.json").read_text()) for n in range(4)]
    assert [each.get("drive") for each in told] == [f"{partition}.0000"] * 3 + [None]
    assert told[1]["recorded_from_s"] == pytest.approx(START_NS / 1e9 + 0.4)
    assert f"partb.mcap: a piece of the drive {partition}.0000" in result.lines
    logs = json.loads((made / "ingest_report.json").read_text())["logs"]
    assert [log["drive"] for log in logs] == [each.get("drive") for each in told]


def _stamped(each) -> dict:
    return each[3] | ({"header": header(each[2] + 10**12)} if "header" in each[3] else {})
