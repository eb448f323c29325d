"""Updates over HTTP: a real web server, with TLS, that serves `ota/`, well or badly."""

import datetime
import ipaddress
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.ota_server import OtaServer

from sim2edge.bus import Bus
from sim2edge.edge.judgement.trial import Step
from sim2edge.edge.server import mirror
from sim2edge.edge.server.mirror import open_bus, open_mirror, open_origins, read_retry_after
from sim2edge.edge.server.tuf_fetcher import asked_wait_s
from sim2edge.errors import BadInput, Forbidden, Missing, Unavailable

NOW = datetime.datetime(2026, 11, 30, 12, 0, 0, tzinfo=datetime.UTC)


class WebServer:
    """A web server of `ota/`, as `/files/...`, that logs what it is asked for and can misbehave."""

    def __init__(self, bus: Bus, tls: ssl.SSLContext | None) -> None:
        self.bus = bus
        self.requests: list[tuple[str, str | None]] = []
        """Path, and range asked for."""
        self.answer: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False
        """Answers a request itself, if it returns True."""
        self.ranges = True
        self.breaks_after: int | None = None
        self.headers: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append((self.path, self.headers.get("Range")))
                outer.headers = dict(self.headers)
                if not outer.answer(self):
                    outer.serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}/files/"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer as a plain web server does."""
        try:
            data = self.bus.get("ota/" + request.path.removeprefix("/files/"))
        except Missing:
            answer(request, 404)
            return
        asked = request.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        found = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        answer(
            request,
            206 if start else 200,
            data[start:],
            self.breaks_after if ".tar.zst" in request.path else None,
            **found,
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def answer(
    request: BaseHTTPRequestHandler, status: int, body: bytes = b"", most: int | None = None, **headers: str
) -> bool:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[:most])
    if most is not None and len(body) > most:
        request.close_connection = True
    return True


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that is its own authority, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mirror")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "mirror.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def server(tmp_path: Path, members: Callable[..., dict[str, bytes]]) -> OtaServer:
    made = OtaServer(Bus.in_memory(), tmp_path, members)
    made.publish("r1", compressed=True, noise=os.urandom(20_000).hex())
    return made


@pytest.fixture
def web(server: OtaServer) -> Iterator[WebServer]:
    """The update server's files, by plain HTTP."""
    made = WebServer(server.bus, None)
    yield made
    made.close()


@pytest.fixture
def secure_web(server: OtaServer, certificate: Path) -> Iterator[WebServer]:
    """The same, with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made = WebServer(server.bus, context)
    yield made
    made.close()


def read(url: str, key: str = "ota/metadata/timestamp.json", start: int = 0) -> bytes:
    return b"".join(open_mirror(url).stream(key, start))


# A device and its mirror


def test_a_device_updates_from_any_web_server_with_tls_and_no_credential(server, secure_web, certificate, tmp_path):
    updater, slots = server.device(tmp_path / "home", bus=open_mirror(secure_web.url, certificate))
    assert updater.update().step is Step.INSTALL
    assert slots.state.slots["a"].release == "r1"
    assert {"Authorization", "Cookie"}.isdisjoint(secure_web.headers)
    server.publish("r2", compressed=True)
    assert updater.update().step is Step.INSTALL
    assert slots.state.slots["b"].release == "r2"


def test_a_server_that_the_device_does_not_trust_gets_no_request(server, secure_web, tmp_path):
    updater, _ = server.device(tmp_path / "home", bus=open_mirror(secure_web.url))
    with pytest.raises(Unavailable, match="certificate verify failed"):
        updater.update()
    assert secure_web.requests == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on_with_or_without_ranges(server, web, tmp_path, ranges):
    web.ranges, web.breaks_after = ranges, 12_000
    updater, slots = server.device(tmp_path / "home", bus=open_mirror(web.url))
    if not ranges:  # what is sent again and skipped brings no byte forward: a later check goes on
        web.breaks_after = None
        offer = updater.check()
        half = server.bus.get(offer.key)[:10_000]
        (slots.staging / f"{offer.installed.sha256}.part").write_bytes(half)
    assert updater.update().step is Step.INSTALL
    asked = [wanted for path, wanted in web.requests if path.endswith(".tar.zst")]
    assert asked == ([None, "bytes=12000-"] if ranges else ["bytes=10000-"])


def test_a_mirror_that_altered_a_bundle_is_refused(server, web, tmp_path):
    key = server.key(".r1.tar")
    data = server.bus.get(key)
    server.bus.put(key, data[:-1] + bytes([data[-1] ^ 1]))
    updater, slots = server.device(tmp_path / "home", bus=open_mirror(web.url))
    with pytest.raises(BadInput, match="not those that were signed"):
        updater.update()
    assert not slots.state.slots


def test_a_mirror_that_sends_without_end_is_left_at_the_signed_size(server, web, tmp_path):
    server.bus.put(server.key("timestamp.json"), b"x" * 2**20)
    updater, _ = server.device(tmp_path / "home", bus=open_mirror(web.url))
    with pytest.raises(BadInput, match="larger than allowed"):
        updater.update()


# Redirects


def test_a_few_redirects_are_followed(server, web):
    web.answer = lambda request: (
        request.path.startswith("/old/")
        and answer(request, 302, Location=request.path.replace("/old/", "/files/").replace("old/", "", 1))
    )
    assert read(web.url.replace("/files/", "/old/")) == server.bus.get("ota/metadata/timestamp.json")


def test_redirects_without_end_are_not(web):
    web.answer = lambda request: answer(request, 301, Location=request.path + "x")
    with pytest.raises(Unavailable, match="more than 3 redirects"):
        read(web.url)
    assert len(web.requests) == 4


@pytest.mark.parametrize("location", ["http://127.0.0.1:1/x", "file:///etc/passwd", ""])
def test_a_redirect_never_leaves_encryption(secure_web, certificate, location):
    secure_web.answer = lambda request: answer(request, 302, Location=location)
    with pytest.raises(Unavailable, match="a redirect that leads to no https address"):
        list(open_mirror(secure_web.url, certificate).stream("ota/x"))


# Servers that ask for time, and other answers


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_time_is_called_once_and_the_device_waits(server, web, tmp_path, status):
    updater, _ = server.device(tmp_path / "home", bus=open_mirror(web.url))
    web.answer = lambda request: answer(request, status, Retry_After="120")
    with pytest.raises(Unavailable, match=f"{status}, asks to wait 120 s") as refusal:
        updater.update()
    assert asked_wait_s(refusal.value) == 120
    assert len(web.requests) == 1
    web.answer = lambda _: False
    assert updater.update().step is Step.INSTALL


def test_the_bus_is_read_by_signed_addresses_so_its_wish_for_time_is_heard_too(server, web, tmp_path, monkeypatch):
    monkeypatch.setenv("SIM2EDGE_BUCKET", "files")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-device")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-sent")
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.url.removesuffix("/files/"))
    updater, _ = server.device(tmp_path / "home", bus=open_bus(Bus.from_environment()))
    web.answer = lambda request: answer(request, 503, b"<Error><Code>SlowDown</Code></Error>", Retry_After="7")
    with pytest.raises(Unavailable, match="the server answered 503, asks to wait 7 s") as refusal:
        updater.update()
    assert (asked_wait_s(refusal.value), len(web.requests)) == (7, 1)
    path = web.requests[0][0]
    assert path.startswith("/files/ota/metadata/2.root.json?")
    assert "X-Amz-Signature=" in path
    assert "X-Amz" not in str(refusal.value)
    web.answer = lambda request: answer(request, 403, b"<Error><Code>InvalidAccessKeyId</Code></Error>")
    with pytest.raises(BadInput, match="InvalidAccessKeyId"):
        updater.update()


def test_nobody_there_is_one_line(web):
    web.close()
    with pytest.raises(Unavailable) as refusal:
        read(web.url)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("status", "error", "line"),
    [
        (404, Missing, "ota/x: missing on the server"),
        (403, Forbidden, r"ota/x: refused by the server \(403\)"),
        (500, Unavailable, "ota/x: the server answered 500"),
        (206, Unavailable, "another range"),
    ],
)
def test_other_answers_are_one_line(web, status, error, line):
    web.answer = lambda request: answer(request, status, b"<html>\n\n", Content_Range="bytes 3-9/10")
    with pytest.raises(error, match=line) as refusal:
        read(web.url, "ota/x", start=5)
    assert "\n" not in str(refusal.value)


def test_a_server_that_drips_is_given_up(web, monkeypatch):
    monkeypatch.setattr(mirror, "SLOW_AFTER_S", 0.0)
    monkeypatch.setattr(mirror, "SLOW", 10**12)
    with pytest.raises(Unavailable, match="too slow"):
        read(web.url)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("Mon, 30 Nov 2026 12:01:30 GMT", 90),
        ("Mon, 30 Nov 2026 11:00:00 GMT", 0),
        ("99999999", 3600),
        ("soon", 0),
        ("", 0),
        ("-5", 0),
    ],
)
def test_a_wish_for_time_is_read_as_seconds_or_a_date(header, seconds):
    assert read_retry_after(header, NOW) == seconds


# The command line


@pytest.mark.parametrize("url", ["ftp://host/ota", "host/ota", "https://host/ota?x=1", "https://", "https://a b/"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(BadInput, match=r"--mirror .*expected https://<host>/<path>"):
        open_mirror(url)


def test_a_password_in_an_address_is_refused_and_not_shown():
    with pytest.raises(BadInput, match="contains a user") as refusal:
        open_mirror("https://me:secret@host/ota")
    assert "secret" not in str(refusal.value)


def test_a_file_without_certificates_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(BadInput, match=r"--mirror-ca .*ca\.pem: not a PEM file"):
        open_mirror("https://host/ota", tmp_path / "ca.pem")
    with pytest.raises(BadInput, match="--mirror-ca: only with --mirror"):
        open_origins(None, tmp_path / "ca.pem")


def test_without_a_bucket_a_device_with_a_mirror_reports_nothing_and_says_so(monkeypatch, capsys):
    monkeypatch.delenv("SIM2EDGE_BUCKET", raising=False)
    bus, _ = open_origins("http://127.0.0.1:1/ota", None)
    bus.put("fleet/pi-1/status.json", b"{}")
    assert '"reports nothing"' in capsys.readouterr().err
    with pytest.raises(BadInput, match="SIM2EDGE_BUCKET is not set"):
        open_origins(None, None)
