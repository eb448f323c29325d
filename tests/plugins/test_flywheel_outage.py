"""The pages while S3 is away, hangs or lacks a file: what is known is shown, at once, and what is not is said."""

import socket
import time

import pytest
from benchmarks.made_up import fill
from obstore.store import MemoryStore
from page_visitor import log_in, pages_of

from sim2edge.bus import Bus
from sim2edge.errors import Unavailable
from sim2edge.services.seaweedfs import REGION

ID = "0123456789abcdef"


class Bucket(Bus):
    """A bucket in memory that can be away."""

    away = False

    def _look(self):
        if self.away:
            raise Unavailable("connection refused")

    def get_tagged(self, key):
        self._look()
        return super().get_tagged(key)

    def size(self, key):
        self._look()
        return super().size(key)

    def list(self, prefix, after=None):
        self._look()
        return super().list(prefix, after)

    def folders(self, prefix):
        self._look()
        return super().folders(prefix)


@pytest.fixture
def bucket():
    """A bucket with 6 batches and 3 trainings."""
    bus = Bucket(MemoryStore())
    fill(bus, batches=6, trainings=3, devices=3)
    return bus


def newest(bucket, kind, partition="night-0005"):
    return next(iter(bucket.artifacts(kind, partition)))


def test_what_is_known_is_still_shown_when_s3_goes_away(visitor, bucket):
    model, release, device = newest(bucket, "model"), newest(bucket, "release"), "devices/pi-1"
    for path in ("flywheel", device, f"artifacts/{release}"):
        assert visitor.get(f"/sim2edge/{path}").status_code == 200
    bucket.away = True
    for path in ("flywheel", "models", "devices", device, f"lineage/{model}", f"artifacts/{release}"):
        assert visitor.get(f"/sim2edge/{path}").status_code == 200, path
    batch = visitor.get("/sim2edge/batches/night-0005")
    assert batch.status_code == 200
    assert "Not everything can be shown: connection refused" in batch.text
    assert f'href="/sim2edge/artifacts/{model}"' in batch.text
    unread = visitor.get(f"/sim2edge/artifacts/{model}")
    assert (unread.status_code, "connection refused" in unread.text) == (503, True)
    assert visitor.get("/sim2edge/batches/nobody").status_code == 404


def test_a_page_about_what_is_not_read_yet_does_not_say_that_there_is_no_such_thing(visitor, bucket):
    bucket.away = True
    for path in (f"lineage/frames/night-0005/{ID}", "devices/pi-1", "lineage/devices/pi-1"):
        assert visitor.get(f"/sim2edge/{path}").status_code == 503, path


@pytest.fixture
def hanging_server(monkeypatch):
    """An S3 server that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name, value in {"SIM2EDGE_BUCKET": "b", "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": REGION}.items():
            monkeypatch.setenv(name, value)
        yield


@pytest.mark.usefixtures("hanging_server")
def test_a_server_that_hangs_keeps_one_visitor_waiting_and_not_for_long(api):
    visitor = log_in(api, "viewer")
    took = []
    for path in (f"artifacts/model/b/{ID}", f"artifacts/model/b/{ID}/curves.png", f"reports/frames/b/{ID}", "flywheel"):
        start = time.monotonic()
        assert visitor.get(f"/sim2edge/{path}").status_code in (200, 503)
        took.append(time.monotonic() - start)
    assert took[0] < 5, "the patience for S3"
    assert max(took[1:]) < 2.5, "once somebody waited in vain, others are told at once"


def test_a_file_that_is_gone_or_cut_off_is_said_so_and_kept_by_no_browser(visitor, bucket):
    sheet = newest(bucket, "episodes")
    attempt = bucket.open(sheet).attempt
    bucket.put(f"{sheet}/{attempt}/contact_sheet.png", b"\x89PNG")
    cases = (("contact_sheet.png", "4 bytes, not", 502), ("night-0005.0001/result.json", "missing on the bus", 404))
    for path, words, status in cases:
        answer = visitor.get(f"/sim2edge/artifacts/{sheet}/{path}")
        assert answer.status_code == status
        assert words in answer.text
        assert answer.headers["Cache-Control"] == "no-store"


def test_a_browser_that_has_a_file_asks_again_and_gets_it_only_while_logged_in(api, visitor, bucket):
    address = f"/sim2edge/artifacts/{newest(bucket, 'episodes')}/contact_sheet.png"
    first = visitor.get(address)
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert int(first.headers["Content-Length"]) == len(first.content)
    bucket.away = True
    held = {"If-None-Match": first.headers["ETag"]}
    assert (visitor.get(address, headers=held).status_code, visitor.get(address).status_code) == (304, 503)
    view = pages_of(api).state.view
    nobody = log_in(api, None)
    pages_of(api).state.view = view
    assert nobody.get(address, headers=held).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["flywheel", "models", "devices", "devices/pi-1", f"lineage/frames/b/{ID}", "lineage/devices/pi-1", "batches/b"],
)
def test_wrong_keys_are_not_taken_for_a_server_that_is_away(api, s3, monkeypatch, path):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    answer = log_in(api, "viewer").get(f"/sim2edge/{path}")
    assert (answer.status_code, "refused the credentials (AWS_ACCESS_KEY_ID)" in answer.text) == (403, True)
    assert "Code&gt;" not in answer.text
