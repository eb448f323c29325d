"""Credentials are found as by other S3 clients; without any, one line says so and nothing is sent."""

import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from s3_stand_in import start_stand_in

from sim2edge import cli, s3_access
from sim2edge.bucket import S3Access, open_bucket, read_endpoint
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Misconfigured
from sim2edge.s3_access import choose

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
ROLE = {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/train"}


STS_ANSWER = (
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
    "<AccessKeyId>web</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
    "<Expiration>{expires}</Expiration>"
    "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
)


class Issuer(BaseHTTPRequestHandler):
    """Gives credentials as STS, a container's endpoint and the instance metadata do; notes what was asked."""

    def give(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        expires = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        if "Action=AssumeRoleWithWebIdentity" in self.path:
            body = STS_ANSWER.format(expires=expires)
        elif self.path.endswith("/api/token"):
            body = "token"
        elif self.path.endswith("security-credentials/"):
            body = "role"
        else:
            who = "instance" if "meta-data" in self.path else "container"
            body = (
                f'{{"Code": "Success", "AccessKeyId": "{who}", "SecretAccessKey": "s", "Token": "t", '
                f'"Expiration": "{expires}", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC"}}'
            )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_PUT = do_POST = give  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


@pytest.fixture
def issuer():
    with ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(monkeypatch, tmp_path, issuer):
    """An S3 server that notes the access keys; a new home; a metadata service that must not be asked."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with start_stand_in() as found:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("SIM2EDGE_BUCKET", "some")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
        address = f"http://127.0.0.1:{issuer.server_port}"
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", address)
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", address)
        yield found


def key_used(server) -> str:
    """The access key that the bus signs with."""
    Bus.from_environment(patience_s=5).read_ref("refs/x")
    return server.signed_with[-1]


def write_profiles(tmp_path, text: str, name: str = "config") -> None:
    (tmp_path / ".aws").mkdir(exist_ok=True)
    (tmp_path / ".aws" / name).write_text(text)


def test_without_credentials_one_line_says_so_and_nothing_is_asked(server, issuer, capsys):
    assert cli.main(["ls"]) == cli.EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("sim2edge: no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or")
    assert error.count("\n") == 1
    assert (issuer.asked, server.requests) == ([], [])


@pytest.mark.parametrize("value", ["", "true", "1"])
def test_the_metadata_service_is_asked_only_when_allowed(server, issuer, monkeypatch, value):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", value)
    with pytest.raises(Misconfigured, match="no credentials for S3"):
        Bus.from_environment()
    assert issuer.asked == []
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    assert key_used(server) == "instance"


def test_a_profile_without_credentials_does_not_ask_it_either(server, issuer, monkeypatch, tmp_path):
    pytest.importorskip("boto3")
    write_profiles(tmp_path, "[default]\nregion = eu-west-9\n[profile lab]\nregion = eu-west-9\n")
    with pytest.raises(Misconfigured, match=r"^no credentials for S3"):
        Bus.from_environment()
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with pytest.raises(Misconfigured, match=r"^AWS_PROFILE lab: the profile has no credentials$"):
        Bus.from_environment()
    assert issuer.asked == []


def test_a_profile_gives_keys_region_and_address(server, monkeypatch, tmp_path):
    pytest.importorskip("boto3")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_REGION")
    write_profiles(tmp_path, f"[profile lab]\nregion = eu-west-9\nendpoint_url = {server.endpoint}\n")
    write_profiles(tmp_path, "[lab]\naws_access_key_id = profiled\naws_secret_access_key = s\n", "credentials")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert key_used(server) == "profiled"
    assert "/eu-west-9/s3/" in server.authorizations[-1]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "keys")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    assert key_used(server) == "keys", "as for other clients, keys in the variables win"


def test_the_default_profile_and_a_process(server, tmp_path):
    pytest.importorskip("boto3")
    program = tmp_path / "keys.sh"
    program.write_text('#!/bin/sh\necho \'{"Version": 1, "AccessKeyId": "process", "SecretAccessKey": "s"}\'\n')
    program.chmod(0o755)
    write_profiles(tmp_path, f"[default]\ncredential_process = {program}\n")
    assert key_used(server) == "process"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", r"^AWS_PROFILE lab: The config profile \(lab\) could not be found$"),
        ("[profile lab\n", "^AWS_PROFILE lab: Unable to parse config file: "),
        (
            "[profile lab]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n"
            "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://127.0.0.1:1/start\n",
            "^AWS_PROFILE lab: Error loading SSO Token: Token for s does not exist$",
        ),
        ("[profile lab]\ncredential_process = /bin/false\n", "^AWS_PROFILE lab: "),
    ],
)
def test_a_profile_that_cannot_be_used_is_one_line(server, monkeypatch, tmp_path, text, line):
    pytest.importorskip("boto3")
    write_profiles(tmp_path, text)
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with pytest.raises(BadInput, match=line) as raised:
        Bus.from_environment(patience_s=5).read_ref("refs/x")
    assert "\n" not in str(raised.value)
    assert server.requests == []


def test_a_profile_without_boto3_is_one_line(server, monkeypatch):
    def missing(*_):
        raise ImportError

    monkeypatch.setattr(s3_access, "_from_profile", missing)
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with pytest.raises(Misconfigured, match=r"^AWS_PROFILE lab: profiles need the package boto3"):
        Bus.from_environment()


def test_a_container_gives_credentials(server, issuer, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{issuer.server_port}/creds")
    (tmp_path / "pod-token").write_text("authorization")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "pod-token"))
    assert key_used(server) == "container"
    assert set(issuer.asked) == {"/creds"}


def certify(folder: Path) -> ssl.SSLContext:
    """Make a certificate of localhost, which SSL_CERT_FILE then names: the client sends a token by TLS only."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]
    )
    start = datetime.now(UTC) - timedelta(hours=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, start, start + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "certificate").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    return context


def test_a_service_account_gives_credentials(server, issuer, monkeypatch, tmp_path):
    issuer.socket = certify(tmp_path).wrap_socket(issuer.socket, server_side=True)
    (tmp_path / "token").write_text("jwt")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate"))
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE["AWS_ROLE_ARN"])
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://localhost:{issuer.server_port}")
    assert key_used(server) == "web"
    (asked,) = issuer.asked
    assert "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Ftrain" in asked
    assert "WebIdentityToken=jwt" in asked


def test_the_address_for_s3_wins_over_that_for_all_services(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3:2")
    assert read_endpoint() == "http://s3:2"
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert read_endpoint() == ""


def test_given_credentials_and_address_win_over_all(server, monkeypatch):
    given = {"access_key_id": "given", "secret_access_key": "s", "token": None, "expires_at": None}
    monkeypatch.setenv("AWS_PROFILE", "missing")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    store = open_bucket(5, S3Access(server.endpoint, "us-east-1", lambda: given))
    assert store.config["endpoint"] == server.endpoint


@pytest.mark.parametrize(
    ("environment", "files", "source"),
    [
        ({**KEYS, "AWS_PROFILE": "p", **ROLE}, True, "AWS_ACCESS_KEY_ID"),
        ({"AWS_PROFILE": "p", "AWS_WEB_IDENTITY_TOKEN_FILE": "f", **ROLE}, False, "AWS_PROFILE p"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "f", **ROLE}, True, "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "f"}, True, "the default profile"),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"}, True, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        ({"AWS_SKIP_SIGNATURE": "true"}, False, "AWS_SKIP_SIGNATURE"),
        ({"AWS_EC2_METADATA_DISABLED": "FALSE"}, False, "the instance's role"),
        ({}, True, "the default profile"),
    ],
)
def test_the_first_of_these_is_taken(environment, files, source):
    assert choose(environment, files)[1] == source


@pytest.mark.parametrize("missing", KEYS)
def test_half_a_pair_of_keys_is_one_line(missing):
    environment = {name: value for name, value in KEYS.items() if name != missing} | {"AWS_PROFILE": "p"}
    with pytest.raises(Misconfigured, match=rf"^{missing} is not set: a key needs both"):
        choose(environment, False)
