"""Which bucket is opened, and how long an S3 server that is away is waited for."""

import socket
import time
from datetime import timedelta

import pytest

from sim2edge import bucket, cli
from sim2edge.bus import Bus
from sim2edge.errors import Unavailable

FASTER = 30


@pytest.fixture
def closed_port(monkeypatch):
    """The endpoint is a port that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("SIM2EDGE_BUCKET", "some")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")


def seconds_until_given_up(patience_s=None):
    start = time.monotonic()
    with pytest.raises(Unavailable):
        Bus.from_environment(patience_s).read_ref("refs/x")
    return time.monotonic() - start


def test_time_alone_decides_how_long_a_server_that_refuses_is_waited_for(closed_port, monkeypatch):
    waits = bucket.RETRIES["backoff"]
    quick = {name: waits[name] / FASTER for name in ("init_backoff", "max_backoff")}
    limit = bucket.RETRIES["retry_timeout"] / FASTER
    monkeypatch.setattr(bucket, "RETRIES", {**bucket.RETRIES, "backoff": {**waits, **quick}, "retry_timeout": limit})
    assert limit == timedelta(seconds=3)
    assert 3 <= seconds_until_given_up() < 6


def test_whoever_has_people_waiting_is_told_at_once(closed_port):
    assert seconds_until_given_up(patience_s=5) < 3


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        *(
            ("AWS_ENDPOINT_URL", value, "AWS_ENDPOINT_URL '")
            for value in (
                "nonsense",
                "http://",
                "ftp://x",
                "http://a b",
                "http://x:99999",
                "http://[::1",
                "http://x/<>",
            )
        ),
        ("SIM2EDGE_BUCKET", "a b", "SIM2EDGE_BUCKET 'a b': not a name that a bucket can have"),
        ("SIM2EDGE_BUCKET", "a/b", "SIM2EDGE_BUCKET 'a/b': not a name that a bucket can have"),
        ("AWS_CONDITIONAL_PUT", "x", "the AWS_* variables: "),
    ],
)
def test_a_bucket_that_cannot_be_is_one_clear_line(closed_port, monkeypatch, capsys, name, value, said):
    monkeypatch.setenv(name, value)
    assert cli.main(["ls"]) == cli.EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert said in err
    assert (err.count("\n"), "Traceback" in err) == (1, False)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1", "https://s3.example.org", "http://[::1]:80/a", "http://s3_x"]
)
def test_addresses_of_servers_are_taken(monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert bucket.read_endpoint() == endpoint
