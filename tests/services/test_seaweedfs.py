"""The real S3 server: what its keys open, and what stays closed without them."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import obstore
import psutil
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from sim2edge.services.seaweedfs import INTERNAL_PORTS, S3Server, start_seaweedfs

HTTP_PORTS = [flag for flag in INTERNAL_PORTS if not flag.endswith(".grpc")]
GRPC_PORTS = [flag for flag in INTERNAL_PORTS if flag.endswith(".grpc")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with start_seaweedfs(tmp_path_factory.mktemp("s3")) as running:
        obstore.put(store(running), "kept.txt", b"precious")
        yield running


def store(server: S3Server, secret: str | None = None) -> S3Store:
    return S3Store(
        server.bucket,
        endpoint=server.endpoint,
        access_key_id=server.access_key,
        secret_access_key=secret or server.secret_key,
        region=server.region,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def request(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_right_keys_read_and_write(server: S3Server) -> None:
    assert obstore.get(store(server), "kept.txt").bytes() == b"precious"


def test_a_wrong_secret_is_refused(server: S3Server) -> None:
    with pytest.raises(BaseError, match=r"403|SignatureDoesNotMatch|denied"):
        obstore.get(store(server, secret="wrong" * 8), "kept.txt")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_s3_without_a_signature_is_refused(server: S3Server, method: str) -> None:
    status, body = request(server.ports["s3.port"], method, "/sim2edge/kept.txt", b"evil" if method == "PUT" else None)
    assert status == 403
    assert b"precious" not in body


@pytest.mark.parametrize("flag", HTTP_PORTS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/buckets/sim2edge/kept.txt"),
        ("GET", "/col/delete?collection=sim2edge"),
        ("GET", "/vol/vacuum?garbageThreshold=0"),
        ("GET", "/dir/assign"),
        ("GET", "/1,01637037d6"),
        ("POST", "/submit"),
        ("PUT", "/buckets/sim2edge/kept.txt"),
        ("DELETE", "/buckets/sim2edge/kept.txt"),
        ("DELETE", "/buckets/sim2edge?recursive=true"),
    ],
)
def test_internal_http_neither_reads_nor_writes(server: S3Server, flag: str, method: str, path: str) -> None:
    status, body = request(server.ports[flag], method, path, b"evil" if method in ("PUT", "POST") else None)
    assert status in (400, 401, 403, 404, 405)
    assert b"precious" not in body
    assert obstore.get(store(server), "kept.txt").bytes() == b"precious"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_the_volume_server_wants_a_token_even_for_a_file_id(server: S3Server, method: str) -> None:
    assert request(server.ports["volume.port"], method, "/1,01637037d6")[0] == 401


@pytest.mark.parametrize("flag", GRPC_PORTS)
def test_grpc_wants_a_certificate(server: S3Server, flag: str) -> None:
    address = ("127.0.0.1", server.ports[flag])
    with socket.create_connection(address, timeout=5) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9)
        assert not plain.recv(100).startswith(b"\0\0")  # no SETTINGS frame
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        pytest.raises((ssl.SSLError, ConnectionResetError)),
        socket.create_connection(address, timeout=5) as raw,
        context.wrap_socket(raw) as secured,
    ):
        secured.recv(100)


def test_only_loopback_is_listened_on(server: S3Server) -> None:
    listening = [c.laddr for c in psutil.Process(server.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert {address.port for address in listening} == set(server.ports.values())


def test_whom_an_earlier_version_told_of_the_inbox_is_told_no_more(tmp_path: Path) -> None:
    (tmp_path / "notification.toml").write_text(
        '[notification.webhook]\nenabled = true\nendpoint = "http://127.0.0.1:9"\n'
    )
    with start_seaweedfs(tmp_path):
        assert (tmp_path / "notification.toml").read_text() == ""


def test_secrets_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    with start_seaweedfs(tmp_path) as server:
        for name in ("s3.json", "security.toml", "grpc.key"):
            assert (tmp_path / name).stat().st_mode & 0o077 == 0, name
        log = (tmp_path / "seaweedfs.log").read_text()
        assert server.secret_key not in log
        keys = json.loads((tmp_path / "s3.json").read_text())["identities"][0]["credentials"][0]
        assert keys == {"accessKey": server.access_key, "secretKey": server.secret_key}
        obstore.put(store(server), "kept.txt", b"precious")
        pid = server.pid
    assert not psutil.pid_exists(pid)
    with start_seaweedfs(tmp_path) as again:  # other keys, same data
        assert again.secret_key != server.secret_key
        assert obstore.get(store(again), "kept.txt").bytes() == b"precious"
