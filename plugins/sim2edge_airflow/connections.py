"""Read Airflow's connections to S3, to a Docker engine and to its registry.

    bus = connect_bus()                            # [sim2edge] aws_conn_id; empty: the AWS_* variables alone
    environment = worker_environment(os.environ)   # a stage's variables, from the same connection
    docker = docker_connection()                   # [sim2edge] docker_conn_id; None: DOCKER_HOST etc.

Fields that a connection leaves empty fall back to the environment variables (docs/connections.md lists both). Tasks,
the triggerer and the API server read connections by the same call: Airflow chooses the secrets backend by process.
Nothing here is called while a DAG file is parsed. The Kubernetes connection is read by its provider's hook, in
`runtimes/kubernetes_runtime.py`.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Connection
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException, AirflowSecretsBackendAccessDenied

from sim2edge.bucket import S3Access
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Misconfigured, Unavailable
from sim2edge.lines import join_lines
from sim2edge.secrets_file import read_role
from sim2edge_airflow.connection_fields import (
    AwsExtra,
    DockerExtra,
    check_endpoints,
    check_fields,
    check_keys,
    check_pair,
    check_printable,
    check_unused_host,
    check_variable,
    read_registry,
)

if TYPE_CHECKING:
    from obstore.store import S3Credential

CREDENTIALS_VARIABLE = "SIM2EDGE_CREDENTIALS"
"""Names the folder with a file of keys for each stage."""
KEPT_S = 240
"""Seconds a connection is cached; a rotated key takes effect after twice that at most. Well below the shortest AWS
session, 900 s, so that no session is used in its last minutes."""
EARLY_S = 300
"""The client refreshes credentials that expire within this many seconds."""
DOCKER_HUB = "docker.io"
HUB_NAMES = ("", "docker.io", "index.docker.io", "registry-1.docker.io", "hub.docker.com")
SCHEMES = ("http://", "https://")
TLS_FILES = ("ca_cert", "client_cert", "client_key")


@dataclass(frozen=True)
class S3Connection:
    """The S3 settings of an AWS connection; unset fields are empty."""

    name: str
    endpoint: str = ""
    region: str = ""
    key: str = ""
    """Empty if the connection has no credentials: the variables or the pod's or instance's role apply."""
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def variables(self) -> dict[str, str]:
        """Return the equivalent environment variables, without empty ones."""
        settings = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_SESSION_TOKEN": self.token,
        }
        return {name: value for name, value in settings.items() if value}


@dataclass(frozen=True)
class DockerConnection:
    """A Docker connection: a registry with its login, and from `extra` the engine and its TLS files."""

    name: str
    registry: str = DOCKER_HUB
    login: str = ""
    password: str = field(default="", repr=False)
    engine: str = field(default="", repr=False)
    """`docker_url` of the extra; empty: DOCKER_HOST applies."""
    tls: Mapping[str, str] = field(default_factory=dict)
    """`ca_cert`, `client_cert` and `client_key`: paths of files; empty: no TLS."""

    def login_for(self, registry: str) -> dict[str, str] | None:
        """Return the `auth_config` of the engine's API for a registry; None if this connection has no login for it."""
        if not self.login or registry_name(registry) != self.registry:
            return None
        return {"username": self.login, "password": self.password, "serveraddress": registry}


def connect_bus(patience_s: float | None = None) -> Bus:
    """Connect to the bucket by the connection `[sim2edge] aws_conn_id`, or else by the `AWS_*` variables.

    Args:
        patience_s: timeout of a request, seconds; see `Bus.from_environment`.

    Raises:
        BadInput: no bucket is named, or the connection or a variable has an invalid value.
        Unavailable: the connection cannot be read.
    """
    connection = s3_connection()
    if connection is None:
        return Bus.from_environment(patience_s) if patience_s else Bus.from_environment()
    return Bus.connect(s3_access(connection), patience_s)


def connect_bus_as(role: str) -> Bus:
    """Connect to the bucket with the keys of a role, from its file among the stages' credentials; else as the worker.

    Raises:
        BadInput: the file, the connection or a variable has an invalid value.
        Unavailable: the connection cannot be read.
    """
    folder = os.environ.get(CREDENTIALS_VARIABLE)
    own = read_role(Path(folder), role) if folder else {}
    if not own:
        return connect_bus()
    connection = s3_connection()
    where = (connection.endpoint, connection.region) if connection else ("", "")
    keys: S3Credential = {
        "access_key_id": own.get("AWS_ACCESS_KEY_ID", ""),
        "secret_access_key": own.get("AWS_SECRET_ACCESS_KEY", ""),
        "token": None,
        "expires_at": None,
    }
    return Bus.connect(S3Access(*where, lambda: keys, f"{role}.env"))


def s3_access(connection: S3Connection) -> S3Access:
    """Return how to access the S3 server by a connection; credentials are refreshed before they expire."""
    if not connection.key:
        return S3Access(connection.endpoint, connection.region)
    return S3Access(connection.endpoint, connection.region, _credentials_now, f"connection '{connection.name}'")


def s3_connection() -> S3Connection | None:
    """Return the connection that `[sim2edge] aws_conn_id` names; None when it is empty.

    Raises:
        BadInput: the connection has an invalid value.
        Unavailable: the connection cannot be read, or AWS does not grant the role it names.
    """
    name = conf.get("sim2edge", "aws_conn_id", fallback="")
    return _read_s3_connection(name, int(time.monotonic() // KEPT_S)) if name else None


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of this process, overridden by those of the AWS connection.

    A stage takes its plain settings from these and, unless it has credentials of its own, its credentials too.

    Raises:
        BadInput, Unavailable: see `s3_connection`.
    """
    connection = s3_connection()
    ours = connection.variables() if connection else {}
    dropped = {"AWS_SESSION_TOKEN"} if "AWS_ACCESS_KEY_ID" in ours else set()  # it belongs to the replaced keys
    if "AWS_ENDPOINT_URL" in ours:
        dropped.add("AWS_ENDPOINT_URL_S3")  # it would win over the connection's
    return {name: value for name, value in environment.items() if name not in dropped} | ours


def docker_connection() -> DockerConnection | None:
    """Return the connection that `[sim2edge] docker_conn_id` names; None if it is empty or the default is undefined.

    Raises:
        Misconfigured: a field of the connection is invalid or missing.
        Unavailable: a connection other than the default one is not defined.
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
        Misconfigured: its variable cannot be parsed, which Airflow reports as "not defined" too.
        BadInput: Airflow does not let this task read it.
        Unavailable: it is not defined. Airflow reports "not defined" also when its API server fails to answer
            (`airflow.sdk.execution_time.secrets.execution_api`), so a retry may find it.
    """
    try:
        return BaseHook.get_connection(name)
    except AirflowSecretsBackendAccessDenied:
        raise BadInput(f"connection '{name}' ([sim2edge] {option}): Airflow denies access to it") from None
    except AirflowNotFoundException:
        check_variable(name)
        raise Unavailable(f"connection '{name}' ([sim2edge] {option}) is not defined: add it to Airflow") from None


def read_docker_connection(connection: Connection) -> DockerConnection:
    """Parse a Docker connection; `host` and `port` are the registry, as for the provider's own operators.

    Raises:
        Misconfigured: a field is invalid, or one that belongs to another is missing; names it.
    """
    extra = check_fields(connection, "docker", DockerExtra)
    name = str(connection.conn_id)
    check_pair(name, ("login", "password"), (connection.login, connection.password))
    given = extra.model_dump()
    tls = {each: given[f"tls_{each}"] for each in TLS_FILES if given[f"tls_{each}"]}
    if missing := [f"tls_{each}" for each in TLS_FILES if each not in tls] if tls else []:
        raise Misconfigured(f"connection '{name}': extra has TLS files, but no {' and no '.join(missing)}")
    if tls and not extra.docker_url:
        raise Misconfigured(f"connection '{name}': extra has TLS files, but no docker_url: they would be ignored")
    return DockerConnection(
        name=name,
        registry=registry_name(read_registry(connection)),
        login=connection.login or "",
        password=connection.password or "",
        engine=extra.docker_url or "",
        tls=tls,
    )


def registry_name(address: str) -> str:
    """Return a registry as in image names: without scheme and path, Docker Hub's aliases as `DOCKER_HUB`."""
    for scheme in SCHEMES:
        address = address.removeprefix(scheme)
    host = address.partition("/")[0].lower()
    return DOCKER_HUB if host in HUB_NAMES else host


@lru_cache(maxsize=2)
def _read_s3_connection(name: str, _when: int) -> S3Connection:
    # If it is not defined, AwsBaseHook would fall back to the environment.
    connection = get_connection(name, "aws_conn_id")
    extra = check_fields(connection, "aws", AwsExtra)
    check_keys(connection, extra)
    check_endpoints(name, extra)
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    with _aws_errors(name):
        hook = AwsBaseHook(aws_conn_id=name, client_type="s3")
        config = hook.conn_config
        found = S3Connection(name, config.get_service_endpoint_url("s3") or "", config.region_name or "")
    if not found.endpoint:
        check_unused_host(connection, extra)
    with _aws_errors(name):
        if not has_credentials(config):
            return found
        given = hook.get_session().get_credentials()
    if given is None:
        raise Misconfigured(f"connection '{name}': extra.profile_name: the profile has no credentials")
    with _aws_errors(name):
        keys = given.get_frozen_credentials()
    check_printable(name, "extra.profile_name", keys.access_key, keys.secret_key, keys.token)
    return replace(found, key=keys.access_key, secret=keys.secret_key, token=keys.token or "")


def has_credentials(config: Any) -> bool:
    """Return whether a connection has keys, a profile or a role, rather than leaving them to the environment."""
    return bool(config.aws_access_key_id or config.profile_name or config.role_arn)


@contextlib.contextmanager
def _aws_errors(name: str) -> Iterator[None]:
    """Map errors of the AWS client to one line that names the connection; their texts quote no secret."""
    from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, HTTPClientError

    try:
        yield
    except ClientError as error:
        failed = error.response["ResponseMetadata"]["HTTPStatusCode"] >= HTTPStatus.INTERNAL_SERVER_ERROR
        kind = Unavailable if failed or "Throttl" in error.response["Error"]["Code"] else BadInput
        raise kind(f"connection '{name}': {join_lines(error)}") from None
    except (HTTPClientError, CredentialRetrievalError) as error:
        raise Unavailable(f"connection '{name}': {join_lines(error)}") from None
    except (BotoCoreError, NotImplementedError) as error:
        raise Misconfigured(f"connection '{name}': {join_lines(error)}") from None
    except (AirflowException, TypeError, ValueError, AttributeError, KeyError, OSError) as error:  # may quote a field
        raise Misconfigured(f"connection '{name}': extra: the provider rejects it ({type(error).__name__})") from None


def _credentials_now() -> "S3Credential":
    connection = s3_connection()
    assert connection  # noqa: S101 - it was defined when the bus was connected
    return {
        "access_key_id": connection.key,
        "secret_access_key": connection.secret,
        "token": connection.token or None,
        "expires_at": datetime.now(UTC) + timedelta(seconds=KEPT_S + EARLY_S),
    }
