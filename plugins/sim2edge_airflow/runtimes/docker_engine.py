"""Connect to the Docker engine, pull images, open logs, and map errors of the client to one line.

The engine is the one of Airflow's Docker connection, or else of `DOCKER_HOST` (`connections.py`). The caller passes the
connection: a task being killed has no time to request it from Airflow. Only this module uses private methods of
docker-py; `tests/plugins/test_docker_client.py` shows which of them an upgrade breaks.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import docker
from docker.errors import APIError, DockerException, TLSParameterError
from requests.exceptions import RequestException

from sim2edge.errors import BadInput, Unavailable
from sim2edge.lines import join_lines, without_users
from sim2edge_airflow.connections import DockerConnection

TIMEOUT_S = 60
"""Timeout of one request: creating a container may take that long on a busy disk."""
HINTS = (
    (
        r"network (\S+) (?:could )?not (?:be )?found|network (\S+) not found",
        "create it, or set [sim2edge] docker_network",
    ),
    (r"no space left on device", "free some of the engine's disk (`docker system df` lists its use)"),
)
CAUSES = {
    FileNotFoundError: "the socket does not exist",
    ConnectionRefusedError: "connection refused",
    TimeoutError: "timed out",
}


def connect(connection: DockerConnection | None = None) -> docker.DockerClient:
    """Return a client of the engine, after a successful ping.

    `DockerHook.get_conn` is not used: since it takes several hosts (https://github.com/apache/airflow/pull/38466) it
    only logs why none answers, and it logs in to the registry each time, whether or not it pulls.

    Raises:
        BadInput: this user has no permission on the engine's socket, the address is invalid, or a TLS file is missing.
        Unavailable: the engine does not answer.
    """
    with engine_errors("the engine", connection):
        if connection is None or not connection.engine:
            return connect_by_variables()
        client = docker.DockerClient(base_url=connection.engine, tls=tls_of(connection), timeout=TIMEOUT_S)
        client.ping()
        return client


def connect_by_variables() -> docker.DockerClient:
    """Return a client of the engine that `DOCKER_HOST` names.

    Raises:
        BadInput: it is not an address.
    """
    try:
        return docker.DockerClient.from_env(timeout=TIMEOUT_S)
    except ValueError as error:  # such as a port beyond 65535
        raise BadInput(f"DOCKER_HOST '{engine_address(None)}': {join_lines(error)}") from None


def tls_of(connection: DockerConnection) -> docker.TLSConfig | bool:
    """Return docker-py's TLS settings of a connection; False if it has none.

    Raises:
        BadInput: a file is missing; names the connection and the file.
    """
    for name, path in connection.tls.items():
        if not Path(path).is_file():
            raise BadInput(f"connection '{connection.name}': extra.tls_{name}: no such file on this worker: {path}")
    from airflow.providers.docker.hooks.docker import DockerHook

    return DockerHook.construct_tls_config(**connection.tls)


def engine_address(connection: DockerConnection | None) -> str:
    """Return the engine's address, without a user, for messages."""
    given = (connection and connection.engine) or os.environ.get("DOCKER_HOST")
    return without_users(given or "unix:///var/run/docker.sock")


def resolve_image(engine: docker.DockerClient, name: str, connection: DockerConnection | None = None) -> str:
    """Return the id of the image called `name`, pulled if the engine lacks it and its name has a registry.

    An image that the engine has is used without a request to its registry: a moved tag takes effect once the engine has
    pulled it, a digest (`name@sha256:...`) never moves.

    Raises:
        BadInput: the image does not exist, its registry refuses the login, or it is for another architecture.
        Unavailable: its registry does not answer.
    """
    with engine_errors(f"image '{name}'", connection):
        try:
            image = engine.api.inspect_image(name)
        except docker.errors.ImageNotFound:
            image = _pull(engine, name, connection)
        check_architecture(name, image["Architecture"], engine.api.version(api_version=False)["Arch"])
    return str(image["Id"])


def check_architecture(name: str, image: str, engine: str) -> None:
    """Check that an image's architecture is the engine's own, so that it runs without emulation.

    Raises:
        BadInput: it is another one.
    """
    if image != engine:
        raise BadInput(f"image '{name}' is for {image}, the engine runs {engine}: build or pull it for {engine}")


def check_reachable(endpoint: str, network: str) -> None:
    """Check that an endpoint is the same server for a container in `network` as for its worker.

    Raises:
        BadInput: the endpoint is on loopback, which inside the container is the container itself.
    """
    host = urlsplit(endpoint).hostname or ""
    if network != "host" and (host == "localhost" or host.startswith("127.") or host == "::1"):
        raise BadInput(
            f"'{without_users(endpoint)}' is the container's own loopback in network {network}: "
            "name a server that is on the network, or set [sim2edge] docker_network = host"
        )


def registry_of(name: str) -> str | None:
    """Return the registry in an image's name; None if it has none: such images are built locally (`make images`)."""
    first, slash, _ = name.partition("/")
    return first if slash and (set(first) & {".", ":"} or first == "localhost") else None


def open_log(engine: docker.DockerClient, container: str, parameters: Mapping[str, Any]) -> BinaryIO:
    """Open a container's log in the engine's format: frames, each with its stream and time.

    docker-py's own `logs` merges the two streams (https://github.com/docker/docker-py/issues/3253) and rounds `since`
    to seconds (https://github.com/docker/docker-py/issues/2825).

    Raises:
        DockerException, RequestException: as docker-py raises them.
    """
    api = engine.api
    response = api._get(api._url("/containers/{0}/logs", container), params=dict(parameters), stream=True)
    if parameters.get("follow"):
        api._disable_socket_timeout(api._get_raw_response_socket(response))
    api._raise_for_status(response)
    return cast(BinaryIO, response.raw)


def _pull(engine: docker.DockerClient, name: str, connection: DockerConnection | None) -> dict[str, str]:
    registry = registry_of(name)
    if registry is None:
        raise BadInput(f"image '{name}' is not on the engine: `make images` builds it, or name another in stages.yaml")
    login = connection.login_for(registry) if connection else None
    used = describe_login(connection, login is not None)
    try:
        for event in engine.api.pull(name, stream=True, decode=True, auth_config=login):
            if "error" in event:
                raise pull_error(name, registry, used, str(event["error"]))
    except APIError as error:
        raise pull_error(name, registry, used, str(error.explanation)) from None
    return dict(engine.api.inspect_image(name))


def describe_login(connection: DockerConnection | None, used: bool) -> str:
    """Return which login a pull used, for messages."""
    if connection is None:
        return "without a login: no Docker connection is defined ([sim2edge] docker_conn_id)"
    if used:
        return f"with the login of connection '{connection.name}'"
    return f"without a login: connection '{connection.name}' has one for {connection.registry} only"


def pull_error(name: str, registry: str, used: str, message: str) -> BadInput | Unavailable:
    """Return the error for a registry's answer to a pull; `used` describes the login (`describe_login`)."""
    message = join_lines(message)
    if "refused by the engine proxy" in message:
        return BadInput(f"image '{name}' is not on the engine: pull it, or start the proxy with --pull: {message}")
    if re.search(r"manifest unknown|not found|name unknown", message):
        return BadInput(
            f"image '{name}' is neither on the engine nor in registry {registry}, requested {used}: {message}"
        )
    if re.search(r"denied|unauthorized|no basic auth|repository does not exist", message):
        return BadInput(f"image '{name}': registry {registry} denies this engine the pull {used}: {message}")
    return Unavailable(f"image '{name}' is not on the engine, and registry {registry} cannot be reached: {message}")


@contextlib.contextmanager
def engine_errors(what: str, connection: DockerConnection | None = None) -> Iterator[None]:
    """Map errors of the client to one line about `what`.

    Raises:
        BadInput: the engine refuses the request, and would refuse it again.
        Unavailable: the engine does not answer, or it failed.
    """
    try:
        yield
    except (DockerException, RequestException) as error:
        raise translate(what, error, engine_address(connection)) from None


def translate(what: str, error: Exception, address: str) -> BadInput | Unavailable:
    """Return the line for an error of the client of the engine at `address`; see `engine_errors`."""
    if isinstance(error, APIError):
        message = join_lines(error.explanation or error)
        hint = next((f": {hint}" for pattern, hint in HINTS if re.search(pattern, message)), "")
        failed = error.is_server_error() or "no space left" in message
        return (Unavailable if failed and "network" not in message else BadInput)(f"{what}: {message}{hint}")
    if isinstance(error, TLSParameterError):
        return BadInput(
            f"TLS of the Docker engine at {address}: {join_lines(str(error).partition('TLS configurations')[0])}"
        )
    causes = list(_causes(error))
    if any(isinstance(cause, PermissionError) for cause in causes):
        return BadInput(
            f"no permission on the Docker engine at {address}: add this user to the group that owns the socket, "
            "or set DOCKER_HOST to the engine proxy"
        )
    known = (words for cause in causes for kind, words in CAUSES.items() if isinstance(cause, kind))
    why = next(known, without_users(join_lines(error)))
    return Unavailable(f"the Docker engine does not answer at {address}: {why}: start it, or set DOCKER_HOST")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes; clients wrap errors in arguments as well as in `__cause__`."""
    seen: list[BaseException] = []
    pending = [error]
    while pending:
        current = pending.pop()
        if any(current is each for each in seen):
            continue
        seen.append(current)
        yield current
        nested = [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
        pending += [each for each in nested if isinstance(each, BaseException)]
