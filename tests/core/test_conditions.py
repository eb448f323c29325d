"""Which servers are taken for the bus: those on which two writers cannot both win."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from s3_stand_in import start_stand_in

from sim2edge import cli, conditions
from sim2edge.bus import Bus
from sim2edge.conditions import is_valid
from sim2edge.errors import Conflict, Misconfigured, Unavailable
from sim2edge.inbox import deliver, describe

MODEL = "model/b/0123456789abcdef"


@pytest.fixture
def server(monkeypatch):
    """A stand-in for an S3 server, as a process finds it that was just started."""
    monkeypatch.setattr(conditions, "_CHECKED", {})
    with start_stand_in() as found:
        for name, value in found.environment().items():
            monkeypatch.setenv(name, value)
        yield found


def new_process(monkeypatch) -> Bus:
    monkeypatch.setattr(conditions, "_CHECKED", {})
    return Bus.from_environment(patience_s=5)


def move(bus: Bus) -> None:
    bus.move_ref("refs/models/champion", MODEL)


def record(server) -> str:
    (key,) = [key for key in server.objects if key.startswith("conditions/")]
    return key


def test_a_good_server_is_checked_once_a_day_and_a_process_then_asks_once(server, monkeypatch):
    move(new_process(monkeypatch))
    probe = server.count("PUT", "conditions/")
    assert 3 <= probe <= 4
    assert sorted(key.split("/")[0] for key in server.objects) == ["conditions", "refs"]
    server.requests.clear()
    bus = new_process(monkeypatch)
    bus.put("refs/a", b"a", only_new=True)
    bus.put("refs/b", b"b", only_new=True)
    Bus.from_environment().put("refs/c", b"c", only_new=True)
    assert [made for made in server.requests if "conditions/" in made[1]] == [("GET", f"/some/{record(server)}")]
    assert server.count("PUT") == 3


def test_whoever_only_reads_or_writes_without_a_condition_asks_nothing(server):
    bus = Bus.from_environment()
    bus.put("fleet/pi-1/status.json", b"{}")
    bus.get("fleet/pi-1/status.json")
    bus.read_ref("refs/x")
    assert not server.count("GET", "conditions")


@pytest.mark.parametrize(
    ("ignores", "problem"),
    [
        ({"If-None-Match"}, "ignores If-None-Match"),
        ({"If-Match"}, "ignores If-Match"),
        ({"If-None-Match", "If-Match"}, "ignores If-None-Match"),
    ],
)
def test_a_server_that_ignores_a_condition_is_refused_before_anything_is_written(server, capsys, ignores, problem):
    server.ignores = ignores
    for _ in range(2):
        assert cli.guard(lambda: move(Bus.from_environment())) == cli.EXIT_BAD_INPUT
        error = capsys.readouterr().err
        assert error.startswith(f"sim2edge: bucket some on {server.endpoint}: the server {problem}, so that writers")
        assert error.endswith("as AWS S3 and SeaweedFS do (docs/s3.md)\n")
        assert error.count("\n") == 1
    assert not [key for key in server.objects if not key.startswith("conditions/")]


def test_a_delivery_to_such_a_server_uploads_nothing(server, tmp_path):
    server.ignores = {"If-None-Match"}
    (tmp_path / "a.mcap").write_bytes(b"log")
    with pytest.raises(Misconfigured, match="ignores If-None-Match"):
        deliver(Bus.from_environment(), "lab-1", tmp_path, [describe(tmp_path, "a.mcap")])
    assert not [key for key in server.objects if key.startswith("inbox/")]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"If-None-Match": (412, "PreconditionFailed")}, "refuses If-None-Match: * for an object that does not exist"),
        ({"If-Match": (412, "PreconditionFailed")}, "refuses If-Match with the tag that it gave"),
        ({"If-None-Match": (501, "NotImplemented")}, "does not implement If-None-Match"),
        ({"If-Match": (501, "NotImplemented")}, "does not implement If-Match"),
    ],
)
def test_a_server_without_conditions_is_refused_without_more_tries(server, answer, problem):
    server.always = answer
    with pytest.raises(Misconfigured, match=problem.replace("*", r"\*")):
        move(Bus.from_environment())
    assert server.count("PUT") <= 3 + conditions.SWAPS


def test_a_server_that_was_replaced_by_a_bad_one_under_a_valid_record_still_says_501_once(server, monkeypatch):
    move(new_process(monkeypatch))
    server.always = {"If-None-Match": (501, "NotImplemented")}
    server.requests.clear()
    with pytest.raises(Misconfigured, match=r"refs/x: the server does not implement If-None-Match \(501\)"):
        new_process(monkeypatch).put("refs/x", b"x", only_new=True)
    assert server.count("PUT") == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b'{"place": "x"}', b'{"place": 1, "checked": 2}']
)
def test_a_record_that_is_damaged_or_gone_is_made_again(server, monkeypatch, content):
    move(new_process(monkeypatch))
    good = server.objects[record(server)]
    server.objects[record(server)] = content
    new_process(monkeypatch).put("refs/x", b"x", only_new=True)
    assert json.loads(server.objects[record(server)]).keys() == json.loads(good).keys()
    server.objects.pop(record(server))
    new_process(monkeypatch).put("refs/y", b"y", only_new=True)
    assert record(server)


def test_a_record_counts_for_its_server_and_bucket_for_a_day():
    now = datetime.now(UTC)
    made = json.dumps({"place": "x", "checked": now.isoformat()}).encode()
    assert is_valid(made, "x", now + timedelta(hours=23))
    assert not is_valid(made, "x", now + timedelta(hours=25))
    assert not is_valid(made, "x", now - timedelta(hours=25)), "made by a clock that is wrong"
    assert not is_valid(made, "y", now)
    assert not is_valid(json.dumps({"place": "x", "checked": "2026-01-01T00:00:00"}).encode(), "x", now), "no zone"


def test_a_server_that_is_replaced_is_checked_again_after_a_day(server, monkeypatch):
    bus = new_process(monkeypatch)
    move(bus)
    server.ignores = {"If-None-Match"}
    old = {"place": f"{server.endpoint} bucket some", "checked": (datetime.now(UTC) - timedelta(hours=25)).isoformat()}
    server.objects[record(server)] = json.dumps(old).encode()
    monkeypatch.setattr(conditions, "VALID", timedelta(0))
    with pytest.raises(Misconfigured, match="ignores If-None-Match"):
        bus.put("refs/x", b"x", only_new=True)


def test_many_processes_may_check_at_once(server):
    problems, start = [], threading.Barrier(8)
    store = Bus.from_environment()._store

    def check() -> None:
        own = conditions.Conditions(store)
        start.wait()
        problems.append(own._look_up_or_probe("here"))

    threads = [threading.Thread(target=check) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert problems == [""] * 8


def test_keys_that_may_not_write_the_record_are_not_refused(server):
    """As with policies of before: servers that have policies honour conditions."""
    server.always = {"If-None-Match": (403, "AccessDenied")}
    Bus.from_environment().check_conditions()


def test_a_write_under_way_is_waited_for_and_what_is_not_there_then_is_written(server):
    bus = Bus.from_environment()
    bus.check_conditions()
    server.answers = [(409, "ConditionalRequestConflict")] * 3
    bus.put("refs/x", b"x", only_new=True)
    assert server.objects["refs/x"] == b"x"
    server.answers = [(409, "ConditionalRequestConflict")] * 2
    bus.put("refs/x", b"y", if_tag=bus.head("refs/x").tag)
    assert server.objects["refs/x"] == b"y"
    server.answers = [(409, "ConditionalRequestConflict")]
    with pytest.raises(Conflict):
        bus.put("refs/x", b"z", only_new=True)
    assert server.objects["refs/x"] == b"y"


def test_a_write_that_is_under_way_for_ever_may_be_tried_later(server, monkeypatch):
    bus = Bus.from_environment()
    bus.check_conditions()
    monkeypatch.setattr(conditions, "CONFLICT_S", 0.2)
    server.always = {"If-None-Match": (409, "ConditionalRequestConflict")}
    with pytest.raises(Unavailable, match="refs/x: other writes to it were under way for"):
        bus.put("refs/x", b"x", only_new=True)


def test_a_server_that_is_busy_is_tried_again(server):
    bus = Bus.from_environment()
    bus.check_conditions()
    server.answers = [(503, "SlowDown"), (500, "InternalError")]
    bus.put("refs/x", b"x", only_new=True)
    assert server.objects["refs/x"] == b"x"
