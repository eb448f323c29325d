"""Which bucket is opened, and how long an S3 server that is away is waited for."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sim2edge import bucket, cli
from sim2edge.bus import Bus
from sim2edge.errors import Misconfigured, Unavailable

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
        ("SIM2EDGE_BUCKET", "a b", "SIM2EDGE_BUCKET 'a b': not a valid bucket name"),
        ("SIM2EDGE_BUCKET", "a/b", "SIM2EDGE_BUCKET 'a/b': not a valid bucket name"),
        ("AWS_CONDITIONAL_PUT", "x", "the AWS_* variables: "),
        ("AWS_CONDITIONAL_PUT", "Disabled", "AWS_CONDITIONAL_PUT: is 'disabled', but commits are conditional puts"),
    ],
)
def test_a_bucket_that_cannot_be_is_one_clear_line(closed_port, monkeypatch, capsys, name, value, said):
    monkeypatch.setenv(name, value)
    assert cli.main(["ls"]) == cli.EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert said in err
    assert (err.count("\n"), "Traceback" in err) == (1, False)


@pytest.mark.parametrize("value", ["http://me:hidden@127.0.0.1", "http://me:hid/den@x", "//me:hidden@x"])
def test_the_user_of_an_address_is_refused_and_never_printed(closed_port, monkeypatch, capsys, value):
    monkeypatch.setenv("AWS_ENDPOINT_URL", value)
    assert cli.main(["ls"]) == cli.EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert "AWS_ENDPOINT_URL: contains a user" in err
    assert not [part for part in ("me:", "hid") if part in err]


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_a_key_with_a_line_break_is_named(closed_port, monkeypatch, name):
    monkeypatch.setenv(name, "hidden\nX")
    with pytest.raises(Misconfigured, match=f"^{name}: contains a character that is not printable ASCII$"):
        bucket.open_bucket()


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1", "https://s3.example.org", "http://[::1]:80/a", "http://s3_x"]
)
def test_addresses_of_servers_are_taken(monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert bucket.read_endpoint() == endpoint


class ExpiredSession(BaseHTTPRequestHandler):
    """S3 as AWS has it, for a session token that was good some time ago; notes the keys that come."""

    def do_GET(self) -> None:
        """Refuse."""
        self.server.keys.append(self.headers["Authorization"])  # type: ignore[attr-defined]
        body = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


@pytest.fixture
def expired(closed_port) -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), ExpiredSession) as server:
        server.keys = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_session_that_has_expired_may_be_renewed_by_the_next_try_and_the_access_wins_over_the_variables(expired):
    """So the exit code is 75, not 2."""
    given = {"access_key_id": "given", "secret_access_key": "s", "token": "t", "expires_at": None}
    access = bucket.S3Access(f"http://127.0.0.1:{expired.server_port}", "eu-west-9", lambda: given)
    with pytest.raises(Unavailable):
        Bus.connect(access).get("refs/x")
    assert "Credential=given/" in expired.keys[0]
    assert "/eu-west-9/" in expired.keys[0]
