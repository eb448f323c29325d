"""`sim2edge check`: a good bucket is all ok and left as it was, and each fault is told in words."""

import json
from datetime import timedelta
from types import SimpleNamespace

import obstore
import pytest
from obstore.store import MemoryStore
from s3_stand_in import start_stand_in

from sim2edge import bucket_check, cli
from sim2edge.bucket_check import ALL, CHECKS, Workplace, check_bucket
from sim2edge.errors import Forbidden, NotFound, Unavailable


def problems(store) -> list[str]:
    return [result.problem for result in check_bucket(store) if result.problem]


def test_a_good_bucket_is_all_ok_and_left_as_it_was():
    store = MemoryStore()
    obstore.put(store, "refs/x", b"x")
    assert [(result.problem) for result in check_bucket(store)] == [""] * len(ALL)
    assert [meta["path"] for meta in obstore.list(store).collect()] == ["refs/x"]


def test_checks_at_once_do_not_disturb_each_other(monkeypatch):
    monkeypatch.setattr(bucket_check, "PAGE", 20)
    store = MemoryStore()
    first, second = check_bucket(store), check_bucket(store)
    assert [(one.problem, other.problem) for one, other in zip(first, second, strict=True)] == [("", "")] * len(ALL)
    assert obstore.list(store).collect() == []


def test_what_a_killed_check_left_is_deleted_when_it_is_old(monkeypatch):
    monkeypatch.setattr(bucket_check, "PAGE", 20)
    store = MemoryStore()
    obstore.put(store, f"{CHECKS}/killed/many/1", b"")
    assert problems(store) == []
    assert len(obstore.list(store).collect()) == 1
    monkeypatch.setattr(bucket_check, "LEFT_OVER", timedelta(seconds=-1))
    assert problems(store) == []
    assert obstore.list(store).collect() == []


class Changed(SimpleNamespace):
    """The module obstore with other functions."""

    def __getattr__(self, name):
        return getattr(obstore, name)


def empty_is_lost(store, key, data, **options):
    return obstore.put(store, key, b" " if data == b"" else data, **options)


def stale(store, key):
    return {**obstore.head(store, key), "e_tag": '"same"'}


def an_hour_behind(store, key):
    meta = obstore.head(store, key)
    return {**meta, "last_modified": meta["last_modified"] - timedelta(hours=1)}


def whole(store, key, *, start, end):
    return obstore.get(store, key).bytes()


def one_page(store, **options):
    yield obstore.list(store, **options).collect()[:1000]


def nothing(store, keys):
    return None


def without_case(store, key, data, **options):
    return obstore.put(store, key.replace("CASE", "case"), data, **options)


def commits_what_it_has(store, key, data, **options):
    parts = []
    try:
        parts.extend(data if not isinstance(data, bytes) else [data])
    finally:
        obstore.put(store, key, b"".join(parts))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"put": empty_is_lost}, "0 bytes were written, 1 read"),
        ({"head": stale}, 'the ETag is "same" by HEAD and "'),
        ({"head": an_hour_behind}, "the server's clock is 3600 s behind this machine's: set both by NTP"),
        ({"get_range": whole}, "bytes 0 to 0 of an object are others"),
        ({"list": one_page}, "1001 objects were written, 1000 are listed, 0 twice"),
        ({"delete": nothing}, "an object that was deleted can still be read"),
        ({"put": without_case}, "an object with the name 'case' is not read as it was written"),
        ({"put": commits_what_it_has}, "an upload that was given up left an object"),
    ],
)
def test_what_is_wrong_is_told_in_words(monkeypatch, changed, problem):
    monkeypatch.setattr(bucket_check, "obstore", Changed(**changed))
    found = problems(MemoryStore())
    assert [each for each in found if each.startswith(problem)], found


class Ignoring(Workplace):
    """A server that accepts every conditional put."""

    def accepts(self, key, data, mode):
        obstore.put(self.store, key, data)
        return True


def test_a_server_that_ignores_conditions_loses_writes(monkeypatch):
    monkeypatch.setattr(bucket_check, "Workplace", Ignoring)
    monkeypatch.setattr(bucket_check, "PAGE", 20)
    assert problems(MemoryStore()) == [
        "If-None-Match is ignored: an object that exists was overwritten",
        "If-Match is ignored: an object was overwritten whose ETag had changed",
    ]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(bucket_check, "PAGE", 20)
    monkeypatch.setattr(bucket_check, "MULTIPART_BYTES", 6_000_000)
    with start_stand_in() as found:
        for name, value in found.environment().items():
            monkeypatch.setenv(name, value)
        yield found


def test_the_command_prints_a_line_for_each_check_and_exits_2(server, capsys):
    server.ignores = {"If-Match"}
    assert cli.main(["check"]) == cli.EXIT_BAD_INPUT
    out = capsys.readouterr().out
    assert f"bucket some on {server.endpoint}" in out
    assert "If-Match is ignored" in out
    assert "are wrong: sim2edge cannot use this server (docs/s3.md)" in out
    assert cli.main(["check", "--json"]) == cli.EXIT_BAD_INPUT
    found = json.loads(capsys.readouterr().out)
    assert (found["bucket"], found["ok"], len(found["checks"])) == ("some", False, len(ALL))
    assert server.objects == {}


@pytest.mark.parametrize(
    ("answer", "kind", "line"),
    [
        ((404, "NoSuchBucket"), NotFound, "SIM2EDGE_BUCKET: there is no bucket some on http"),
        (
            (403, "SignatureDoesNotMatch"),
            Forbidden,
            "refused the credentials (AWS_ACCESS_KEY_ID): SignatureDoesNotMatch",
        ),
        ((403, "RequestTimeTooSkewed"), Forbidden, "refused the credentials (AWS_ACCESS_KEY_ID): RequestTimeTooSkewed"),
        ((400, "InvalidArgument"), Unavailable, "400 Bad Request: InvalidArgument"),
    ],
)
def test_a_server_that_cannot_be_used_at_all_is_one_line(server, capsys, answer, kind, line):
    server.always = {"GET": answer}
    assert cli.main(["check"]) == (75 if kind is Unavailable else 2)
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_keys_that_may_not_write_or_delete_are_one_line_and_nothing_more_is_written(server, capsys, method):
    server.always = {method: (403, "AccessDenied")}
    assert cli.main(["check"]) == cli.EXIT_BAD_INPUT
    assert "conditions/check: the S3 server refused the credentials" in capsys.readouterr().err
    assert len(server.objects) <= 1
