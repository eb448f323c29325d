"""A file of an artifact comes in chunks, whole or in the range that is asked for, and only with the login."""

import pytest
from benchmarks.made_up import commit
from page_visitor import log_in, pages_of

from sim2edge_airflow.pages.bus_view import BusView
from sim2edge_airflow.pages.file_answer import Span, Unsatisfiable, parse_range

LOG = bytes(range(256)) * 40_000
"""10 MB: more than a chunk."""


@pytest.fixture
def log(bucket):
    """The address of a log."""
    from datetime import UTC, datetime

    files = {"lab-1.0000/simulation.mcap": LOG, "empty.mcap": b""}
    made = commit(bucket, "capture", "episodes", "lab-1", {}, {}, datetime(2026, 5, 6, tzinfo=UTC), 1.0, files)
    return f"/sim2edge/artifacts/{made.reference}/lab-1.0000/simulation.mcap"


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        (None, None),
        ("bytes=0-", Span(0, 100)),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=90-200", Span(90, 100)),
        ("bytes=-10", Span(90, 100)),
        ("bytes=-1000", Span(0, 100)),
        ("bytes=5-3", None),
        ("bytes=0-1,5-6", None),
        ("rows=1-2", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
    ],
)
def test_a_range_is_read_as_the_standard_says(asked, span):
    assert parse_range(asked, 100) == span


@pytest.mark.parametrize(("asked", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0), ("bytes=-5", 0)])
def test_what_a_file_does_not_have_cannot_be_asked_for(asked, size):
    with pytest.raises(Unsatisfiable):
        parse_range(asked, size)


def test_a_log_is_downloaded_under_a_name_of_its_own(visitor, log):
    answer = visitor.get(log)
    assert (answer.status_code, answer.content == LOG) == (200, True)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="lab-1.0000-simulation.mcap"'
    assert (answer.headers["Accept-Ranges"], answer.headers["Content-Length"]) == ("bytes", str(len(LOG)))


def test_a_viewer_gets_the_range_that_it_asks_for(visitor, log):
    answer = visitor.get(log, headers={"Range": "bytes=1000000-3000000"})
    assert (answer.status_code, answer.content == LOG[1_000_000:3_000_001]) == (206, True)
    assert answer.headers["Content-Length"] == "2000001", "not compressed, as a range is one of the file itself"
    assert answer.headers["Content-Range"] == f"bytes 1000000-3000000/{len(LOG)}"
    beyond = visitor.get(log, headers={"Range": f"bytes={len(LOG)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(LOG)}")
    other = visitor.get(log, headers={"Range": "bytes=0-9", "If-Range": '"another file"'})
    assert (other.status_code, len(other.content)) == (200, len(LOG))


def test_a_file_is_never_held_in_memory(visitor, bucket, log, monkeypatch):
    chunks, whole = [], []
    real, get = type(bucket).stream, type(bucket).get

    def watch(bus, *what):
        for chunk in real(bus, *what):
            chunks.append(len(chunk))
            yield chunk

    monkeypatch.setattr(type(bucket), "stream", watch)
    monkeypatch.setattr(type(bucket), "get", lambda bus, key: whole.append(key) or get(bus, key))
    assert visitor.get(log, headers={"Range": "bytes=0-4999999"}).status_code == 206
    assert sum(chunks) == 5_000_000
    assert not [key for key in whole if key.endswith(log.rpartition("/")[2])]


def test_nobody_reads_a_log_without_a_login(api, bucket, log):
    nobody = log_in(api, None)
    pages_of(api).state.view = BusView(lambda: bucket)
    answer = nobody.get(log, headers={"Range": "bytes=0-9"})
    assert (answer.status_code, LOG[:10] in answer.content) == (401, False)


def test_the_page_of_a_batch_lists_its_drives_and_opens_them_where_there_is_a_viewer(visitor, log, monkeypatch):
    page = visitor.get("/sim2edge/batches/lab-1").text
    assert f'href="{log}" target="_blank"' in page
    assert "open the file in Foxglove or Lichtblick" in page
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__MCAP_VIEWER_URL", "https://airflow.example/viewer/")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/team")
    page = visitor.get("/sim2edge/batches/lab-1").text
    address = f"https%3A%2F%2Fairflow.example{log.replace('/', '%2F')}"
    assert f'href="https://airflow.example/viewer/?ds=remote-file&amp;ds.url={address}"' in page
