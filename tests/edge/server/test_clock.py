"""The time of a device without a battery for its clock: what it reckons with, and what it reports."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from sim2edge.edge.server.clock import UNSET_BEFORE, DeviceClock, clock_fault, correct_time, day

DAY = 86400.0
SIGNED = UNSET_BEFORE + 100 * DAY


def sign(home, when, name="metadata/timestamp.json"):
    path = home / name
    path.parent.mkdir(exist_ok=True)
    text = when if isinstance(when, str) else datetime.fromtimestamp(when, UTC).isoformat()
    path.write_text(json.dumps({"signed": {"signed_at": text}}))


def test_a_clock_of_1970_is_replaced_by_what_was_signed_last_and_goes_on(tmp_path):
    running = [5.0]
    clock = DeviceClock(tmp_path, lambda: 12.0, lambda: running[0])
    assert clock.now() == UNSET_BEFORE
    sign(tmp_path, SIGNED)
    assert clock.now() == SIGNED
    running[0] += 60
    assert clock.now() == SIGNED + 60
    assert clock.fault.startswith(f"1970-01-01, before {day(SIGNED)}: it was never set")
    sign(tmp_path, SIGNED + DAY)
    assert clock.now() == SIGNED + DAY


def test_a_clock_that_is_set_is_used_whatever_was_signed(tmp_path):
    sign(tmp_path, SIGNED + 400 * DAY)
    clock = DeviceClock(tmp_path, lambda: SIGNED)
    assert clock.now() == SIGNED
    assert clock.fault.startswith(f"{day(SIGNED)}, but the server signed on {day(SIGNED + 400 * DAY)}: this clock or")


@pytest.mark.parametrize(
    ("system", "signed_at", "said"),
    [
        (SIGNED, SIGNED, ""),
        (SIGNED, SIGNED + DAY, ""),
        (SIGNED, 0.0, ""),
        (SIGNED + 400 * DAY, SIGNED, ""),
        (SIGNED, SIGNED + 2 * DAY, "but the server signed"),
        (0.0, 0.0, "1970-01-01, before 2026-01-01"),
        (-5e9, 1e12, "1970-01-01, before 2242-03-16"),
    ],
)
def test_only_what_is_evidently_wrong_is_reported(system, signed_at, said):
    fault = clock_fault(system, signed_at)
    assert said in fault
    assert bool(said) == bool(fault)


def test_the_time_never_goes_back_while_it_is_reckoned():
    assert correct_time(0, SIGNED, SIGNED + 5) == SIGNED + 5
    assert correct_time(0, SIGNED + 9, SIGNED + 5) == SIGNED + 9
    assert correct_time(SIGNED + 1, SIGNED, SIGNED + 5) == SIGNED + 1, "NTP has set the clock"


@pytest.mark.parametrize("when", ["", "soon", "2027-01-01", "9999-12-31T00:00:00+00:00", 7])
def test_what_is_no_date_counts_for_nothing(tmp_path, when):
    sign(tmp_path, str(when))
    assert DeviceClock(tmp_path, lambda: 0.0).now() == pytest.approx(UNSET_BEFORE, abs=5)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"signed": 5}', b"\xff" * 9, b"[" * 100_000])
def test_damaged_metadata_counts_for_nothing(tmp_path, content):
    (tmp_path / "root.json").write_bytes(content)
    assert DeviceClock(tmp_path, lambda: 0.0).fault


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_metadata_is_not_waited_for(tmp_path):
    (tmp_path / "metadata").mkdir()
    os.mkfifo(tmp_path / "metadata" / "snapshot.json")
    assert DeviceClock(tmp_path).signed_at == 0


def test_every_role_says_when_it_was_signed(tmp_path, bus):
    from sim2edge.push.config import PushConfig
    from sim2edge.push.keys import KeyFolder
    from sim2edge.push.repository import Repository

    now = datetime(2029, 1, 1, tzinfo=UTC) + timedelta(microseconds=7)
    keys = KeyFolder(tmp_path / "keys")
    Repository(bus, keys, PushConfig(), lambda: now).create()
    home = tmp_path / "home"
    home.mkdir()
    (home / "root.json").write_bytes(keys.read_root())
    assert DeviceClock(home, lambda: 0.0).now() == now.replace(microsecond=0).timestamp()
    for key in ("timestamp.json", "1.snapshot.json", "1.targets.json"):
        assert json.loads(bus.get(f"ota/metadata/{key}"))["signed"]["signed_at"] == "2029-01-01T00:00:00+00:00"
