"""Check the fields of Airflow's connections: each problem is one line with connection and field, without the value.

    fields = check_fields(connection, "aws", AwsExtra)       # the extra, as its model
    check_variable("docker_default")                         # AIRFLOW_CONN_DOCKER_DEFAULT, if it is set

Values are never quoted: they may be secrets, or in the wrong field. Airflow treats a variable that it cannot parse as
absent, and an extra that is not JSON as empty; the stage would then use the worker's own environment.
"""

import json
import os
import re
from typing import Annotated, Any, TypeVar

from airflow.sdk import Connection
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sim2edge.bucket import check_endpoint
from sim2edge.errors import BadInput, Misconfigured
from sim2edge.lines import first_problem, join_lines

Printable = Annotated[str, Field(pattern=r"^[ -~]*\z")]
"""Printable ASCII: the S3 client panics over a line break in a key."""
Namespace = Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?\z")]
Region = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*\z")]

SCHEME = re.compile("^https?://")
REGISTRY = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
HAS_PORT = re.compile(":[0-9]+$")
MAX_PORT = 65535
TEXTS = ("conn_type", "host", "login", "password", "schema")


class Extra(BaseModel):
    """The extra of a connection; fields that are not listed are the provider's own business."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class SessionKwargs(Extra):
    """Where older AWS connections have their credentials."""

    aws_access_key_id: Printable | None = None
    aws_secret_access_key: Printable | None = None
    aws_session_token: Printable | None = None


class AwsExtra(Extra):
    """The extra of an AWS connection, with the types that the provider expects."""

    endpoint_url: str | None = None
    region_name: Region | None = None
    profile_name: str | None = None
    role_arn: str | None = None
    assume_role_method: str | None = None
    assume_role_kwargs: dict[str, Any] = {}
    service_config: dict[str, dict[str, Any]] = {}
    config_kwargs: dict[str, Any] | None = None
    session_kwargs: SessionKwargs = SessionKwargs()
    aws_access_key_id: Printable | None = None
    aws_secret_access_key: Printable | None = None
    aws_session_token: Printable | None = None

    @field_validator("config_kwargs")
    @classmethod
    def check_config(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        """Check that botocore accepts the settings."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        try:
            Config(**(value or {}))
        except (TypeError, ValueError, AttributeError, BotoCoreError) as error:
            raise ValueError(join_lines(error)) from None
        return value


class DockerExtra(Extra):
    """The extra of a Docker connection: the engine and its TLS files."""

    docker_url: str | None = None
    tls_ca_cert: str | None = None
    tls_client_cert: str | None = None
    tls_client_key: str | None = None

    @field_validator("docker_url")
    @classmethod
    def check_address(cls, value: str | None) -> str | None:
        """Check that it is the address of an engine."""
        from docker.errors import DockerException
        from docker.utils import parse_host

        before, at, _ = (value or "").rpartition("@")
        if at and (not before.startswith("ssh://") or ":" in before.removeprefix("ssh://")):
            raise ValueError("contains a user or a password")
        try:
            parse_host(value)
        except (DockerException, ValueError):
            raise ValueError("expected tcp://<host>:<port>, unix://<path> or ssh://<host>") from None
        return value


class KubernetesExtra(Extra):
    """The extra of a Kubernetes connection; its hook checks the rest."""

    namespace: Namespace | None = None


AnyExtra = TypeVar("AnyExtra", bound=Extra)


def check_fields(connection: Connection, kind: str, model: type[AnyExtra]) -> AnyExtra:
    """Return the extra of a connection as its model.

    Raises:
        Misconfigured: the connection is of another type, or its extra is invalid; names the field.
    """
    name = f"connection '{connection.conn_id}'"
    if connection.conn_type is not None and connection.conn_type != kind:
        raise Misconfigured(f"{name}: conn_type: expected '{kind}'")
    if "@" in (connection.schema or ""):  # what follows the first '/' of a URI: the rest of a secret
        raise Misconfigured(f"{name}: schema: contains an '@': in a URI, encode '/', ':' and '@' of login and password")
    try:
        return model.model_validate(read_extra(connection))
    except ValidationError as error:
        raise Misconfigured(f"{name}: extra.{first_problem(error)}") from None


def read_extra(connection: Connection) -> dict[str, Any]:
    """Return the extra of a connection.

    Raises:
        Misconfigured: it is not a JSON object.
    """
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise Misconfigured(f"connection '{connection.conn_id}': extra: expected a JSON object")
    return extra


def check_pair(name: str, fields: tuple[str, str], values: tuple[Any, Any]) -> None:
    """Check that a connection has both of two fields or neither: half a login would be ignored.

    Raises:
        Misconfigured: one is missing or contains a character that is not printable ASCII; names it.
    """
    for field, value in zip(fields, values, strict=True):
        if not value and any(values):
            both = " and ".join(fields)
            raise Misconfigured(f"connection '{name}': {field}: missing or empty: {both} go together")
        check_printable(name, field, value)


def check_printable(name: str, field: str, *values: Any) -> None:
    """Check that values of a field can be sent in a request.

    Raises:
        Misconfigured: one contains a character that is not printable ASCII; names the field.
    """
    for value in values:
        if value and not (str(value).isascii() and str(value).isprintable()):
            raise Misconfigured(f"connection '{name}': {field}: contains a character that is not printable ASCII")


def check_keys(connection: Connection, extra: AwsExtra) -> None:
    """Check the keys of an AWS connection, wherever the provider reads them from.

    Raises:
        Misconfigured: only one of key and secret is given, or a token without them; names the field.
    """
    name, (key, secret) = str(connection.conn_id), ("aws_access_key_id", "aws_secret_access_key")
    check_pair(name, ("login", "password"), (connection.login, connection.password))
    keys = [connection.login]
    for where, given in (("extra", extra.model_dump()), ("extra.session_kwargs", extra.session_kwargs.model_dump())):
        check_pair(name, (f"{where}.{key}", f"{where}.{secret}"), (given.get(key), given.get(secret)))
        keys.append(given.get(key))
    if extra.aws_session_token and not any(keys):
        raise Misconfigured(f"connection '{name}': extra.aws_session_token: there is no key to it")


def check_endpoints(name: str, extra: AwsExtra) -> None:
    """Check the addresses of an AWS connection.

    Raises:
        Misconfigured: one is not an address, or contains a user; names the field.
    """
    found: dict[str, Any] = {"endpoint_url": extra.endpoint_url}
    found |= {f"service_config.{each}.endpoint_url": c.get("endpoint_url") for each, c in extra.service_config.items()}
    for field, value in found.items():
        if not isinstance(value, str | None):
            raise Misconfigured(f"connection '{name}': extra.{field}: expected a string")
        check_endpoint(value or "", f"connection '{name}': extra.{field}")


def check_unused_host(connection: Connection, extra: AwsExtra) -> None:
    """Check that an AWS connection without an endpoint has no host either: the provider ignores it, and would use AWS.

    Raises:
        Misconfigured: it has; names the field.
    """
    for field, value in (("host", connection.host), ("extra.host", extra.model_dump().get("host"))):
        if value:
            raise Misconfigured(f"connection '{connection.conn_id}': {field}: is ignored: use extra.endpoint_url")


def read_registry(connection: Connection) -> str:
    """Return the registry of a Docker connection, `<host>[:<port>]`; empty: Docker Hub.

    Raises:
        Misconfigured: host or port is none, and the login would never be sent; names the field.
    """
    name, given, port = f"connection '{connection.conn_id}'", connection.host or "", connection.port
    if "@" in given:
        raise Misconfigured(f"{name}: host: contains a user or an '@': give the login as login and password")
    host = SCHEME.sub("", given).partition("/")[0]
    if given and not REGISTRY.fullmatch(host):
        raise Misconfigured(f"{name}: host: expected a registry, <host> or <host>:<port>")
    if port and not given:
        raise Misconfigured(f"{name}: port: there is no host to it")
    if port and HAS_PORT.search(host):
        raise Misconfigured(f"{name}: port: host has one already")
    if port and not 0 < port <= MAX_PORT:
        raise Misconfigured(f"{name}: port: expected a number from 1 to {MAX_PORT}")
    return f"{host}:{port}" if port else host


def check_variable(name: str) -> None:
    """Check that the variable `AIRFLOW_CONN_<NAME>` can be parsed, if it is set.

    Raises:
        Misconfigured: it cannot; names the connection, the variable and, where it is known, the field.
    """
    variable = f"AIRFLOW_CONN_{name.upper()}"
    text = os.environ.get(variable, "")
    try:
        if text.lstrip().startswith("{"):
            check_types(Connection.from_json(text, conn_id=name))
        elif text:
            Connection.from_uri(text, conn_id=name)
    except Exception as error:  # any: Airflow would ignore it, and its text may quote a secret
        raise Misconfigured(f"connection '{name}': {variable} cannot be read: {explain(text, error)}") from None


def check_types(connection: Connection) -> None:
    """Check that the fields of a connection are texts.

    Raises:
        BadInput: one is not; names it.
    """
    for field in TEXTS:
        if not isinstance(getattr(connection, field), str | None):
            raise BadInput(f"{field}: expected a string")


def explain(text: str, error: Exception) -> str:
    """Return why the text of a connection cannot be parsed, without its values."""
    if isinstance(error, BadInput):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON at character {error.pos}"
    if "`port`" in str(error):
        return "port: not a number"
    if isinstance(error, TypeError) and "unexpected keyword" in str(error):
        return f"unknown field {str(error).rpartition(' ')[2]}"
    return "a field has the wrong type" if text.lstrip().startswith("{") else "not a valid URI"
