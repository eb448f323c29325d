"""Read Airflow's connections: who asks S3, a Docker engine and its registry. The one module that does.

    bus = connect_bus()                            # [sim2edge] aws_conn_id; empty: the AWS_* variables alone
    environment = worker_environment(os.environ)   # what a stage is given out of the same connection
    docker = docker_connection()                   # [sim2edge] docker_conn_id; None: DOCKER_HOST and its like

Whatever a connection leaves out, the environment variables say (docs/connections.md has both side by side). Tasks, the
triggerer and the API server all read connections by the same call: Airflow chooses the backend by the process that it
is called in. Nothing here is called while a DAG file is read. The cluster's connection is read by its provider's hook,
in `runtimes/kubernetes_runtime.py`.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Connection
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException

from sim2edge.bucket import S3Access
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from obstore.store import S3Credential

KEPT_S = 240
"""How long what a connection says is kept; a key that was rotated is taken up after twice that at most. Below the
shortest session of AWS, 900 s, by enough that none is used in its last minutes."""
EARLY_S = 300
"""The client asks for credentials anew when less than this is left of the old ones."""
DOCKER_HUB = "docker.io"
HUB_NAMES = ("", "docker.io", "index.docker.io", "registry-1.docker.io", "hub.docker.com")
SCHEMES = ("http://", "https://")


@dataclass(frozen=True)
class S3Connection:
    """What an AWS connection says of an S3 server; what it leaves out is empty."""

    name: str
    endpoint: str = ""
    region: str = ""
    key: str = ""
    """Empty where the connection has no credentials of its own: the variables, a pod's or an instance's role count."""
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def variables(self) -> dict[str, str]:
        """Return the environment variables that say the same; no empty one."""
        said = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_SESSION_TOKEN": self.token,
        }
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True)
class DockerConnection:
    """What a Docker connection says: a registry and the login there, and in its extra the engine and its TLS files."""

    name: str
    registry: str = DOCKER_HUB
    login: str = ""
    password: str = field(default="", repr=False)
    engine: str = ""
    """`docker_url` of the extra; empty: DOCKER_HOST says it."""
    tls: Mapping[str, str] = field(default_factory=dict)
    """`ca_cert`, `client_cert` and `client_key`: paths of files; empty: no TLS."""

    def login_for(self, registry: str) -> dict[str, str] | None:
        """Return the login for a registry, as the engine's API takes it; None when this connection has none for it."""
        if not self.login or registry_name(registry) != self.registry:
            return None
        return {"username": self.login, "password": self.password, "serveraddress": registry}


def connect_bus(patience_s: float | None = None) -> Bus:
    """Connect to the bucket as the connection `[sim2edge] aws_conn_id` says, or else the `AWS_*` variables.

    Args:
        patience_s: seconds after which a request is given up; see `Bus.from_environment`.

    Raises:
        BadInput: no bucket is named, or the connection or a variable has a value that it cannot have.
        Unavailable: the connection cannot be read.
    """
    connection = s3_connection()
    if connection is None:
        return Bus.from_environment(patience_s) if patience_s else Bus.from_environment()
    return Bus.connect(s3_access(connection), patience_s)


def s3_access(connection: S3Connection) -> S3Access:
    """Return what the connection says of the S3 server; credentials are asked for anew before they expire."""
    return S3Access(connection.endpoint, connection.region, _credentials_now if connection.key else None)


def s3_connection() -> S3Connection | None:
    """Return what `[sim2edge] aws_conn_id` names; None when it is empty.

    Raises:
        BadInput: the connection has a value that it cannot have.
        Unavailable: the connection cannot be read, or AWS does not give the role it names.
    """
    name = conf.get("sim2edge", "aws_conn_id", fallback="")
    return _read_s3_connection(name, int(time.monotonic() // KEPT_S)) if name else None


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of this process, with what the AWS connection says in the place of the same ones.

    A stage is given its plain settings and, unless it has some of its own, its credentials out of these.

    Raises:
        BadInput, Unavailable: see `s3_connection`.
    """
    connection = s3_connection()
    said = connection.variables() if connection else {}
    dropped = {"AWS_SESSION_TOKEN"} if "AWS_ACCESS_KEY_ID" in said else set()  # it would go with other keys
    return {name: value for name, value in environment.items() if name not in dropped} | said


def docker_connection() -> DockerConnection | None:
    """Return what `[sim2edge] docker_conn_id` names; None when there is no such connection.

    Raises:
        BadInput: the connection's extra has a value that it cannot have.
        Unavailable: a connection other than the default one is not there.
    """
    from airflow.providers.docker.hooks.docker import DockerHook

    name = conf.get("sim2edge", "docker_conn_id", fallback=DockerHook.default_conn_name)
    if not name:
        return None
    try:
        return read_docker_connection(get_connection(name, "docker_conn_id"))
    except Unavailable:
        if name == DockerHook.default_conn_name:
            return None
        raise


def get_connection(name: str, option: str) -> Connection:
    """Return the connection that an option of `[sim2edge]` names.

    Raises:
        Unavailable: it cannot be read. Airflow says "not defined" of one that its API server did not give just now, too
            (`airflow.sdk.execution_time.secrets.execution_api`), so another try may find it.
    """
    try:
        return BaseHook.get_connection(name)
    except AirflowNotFoundException:
        raise Unavailable(f"connection '{name}' ([sim2edge] {option}) is not defined: add it to Airflow") from None


def read_docker_connection(connection: Connection) -> DockerConnection:
    """Return what a Docker connection says; `host` and `port` are the registry, as for the provider's own operators.

    Raises:
        BadInput: names the field of the extra that is wrong.
    """
    extra = connection.extra_dejson
    names = {"ca_cert": "tls_ca_cert", "client_cert": "tls_client_cert", "client_key": "tls_client_key"}
    tls = {ours: str(extra[theirs]) for ours, theirs in names.items() if extra.get(theirs)}
    if missing := [theirs for ours, theirs in names.items() if ours not in tls] if tls else []:
        raise BadInput(f"connection '{connection.conn_id}': extra has TLS files, but no {' and no '.join(missing)}")
    host = f"{connection.host or ''}:{connection.port}" if connection.port else connection.host or ""
    return DockerConnection(
        name=str(connection.conn_id),
        registry=registry_name(host),
        login=connection.login or "",
        password=connection.password or "",
        engine=str(extra.get("docker_url") or ""),
        tls=tls,
    )


def registry_name(address: str) -> str:
    """Return a registry as images' names have it: no scheme, no path; Docker Hub by one of its many names."""
    for scheme in SCHEMES:
        address = address.removeprefix(scheme)
    host = address.partition("/")[0].lower()
    return DOCKER_HUB if host in HUB_NAMES else host


@lru_cache(maxsize=2)
def _read_s3_connection(name: str, _when: int) -> S3Connection:
    get_connection(name, "aws_conn_id")  # AwsBaseHook would go on with the environment when it is not there
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    with _aws_errors(name):
        hook = AwsBaseHook(aws_conn_id=name, client_type="s3")
        said = hook.conn_config
        found = S3Connection(name, said.get_service_endpoint_url("s3") or "", said.region_name or "")
        if not has_credentials(said):
            return found
        given = hook.get_credentials()
    return replace(found, key=given.access_key, secret=given.secret_key, token=given.token or "")


def has_credentials(said: Any) -> bool:
    """Return whether a connection names keys, a profile or a role, rather than leave that to the environment."""
    return bool(said.aws_access_key_id or said.profile_name or said.role_arn)


@contextlib.contextmanager
def _aws_errors(name: str) -> Iterator[None]:
    """Turn what the AWS client raises into one line that names the connection; none of it quotes a secret."""
    from botocore.exceptions import BotoCoreError, ClientError, PartialCredentialsError, ProfileNotFound

    try:
        yield
    except ClientError as error:
        failed = error.response["ResponseMetadata"]["HTTPStatusCode"] >= HTTPStatus.INTERNAL_SERVER_ERROR
        kind = Unavailable if failed or "Throttl" in error.response["Error"]["Code"] else BadInput
        raise kind(f"connection '{name}': {one_line(error)}") from None
    except (ProfileNotFound, PartialCredentialsError, NotImplementedError) as error:
        raise BadInput(f"connection '{name}': {one_line(error)}") from None
    except BotoCoreError as error:
        raise Unavailable(f"connection '{name}': {one_line(error)}") from None


def _credentials_now() -> "S3Credential":
    connection = s3_connection()
    assert connection  # noqa: S101 - it was there when the bus was connected
    return {
        "access_key_id": connection.key,
        "secret_access_key": connection.secret,
        "token": connection.token or None,
        "expires_at": datetime.now(UTC) + timedelta(seconds=KEPT_S + EARLY_S),
    }


def one_line(error: Exception) -> str:
    """Return an error's text without line breaks."""
    return " ".join(str(error).split())[:300]
