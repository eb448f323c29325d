"""The Docker engine that `DOCKER_HOST` names: connects, resolves images, and says in one line what is wrong with it."""

import contextlib
import os
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import docker
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from sim2edge.errors import BadInput, Unavailable

TIMEOUT_S = 60
"""For one answer of the engine: creating a container may take that long on a disk that is busy."""
HINTS = (
    (
        r"network (\S+) (?:could )?not (?:be )?found|network (\S+) not found",
        "create it, or set [sim2edge] docker_network",
    ),
    (r"no space left on device", "free some of the engine's disk (`docker system df` says what takes it)"),
)
CAUSES = {
    FileNotFoundError: "there is no such socket",
    ConnectionRefusedError: "nothing listens there",
    TimeoutError: "it does not answer",
}


def connect() -> docker.DockerClient:
    """A client of the engine, which has just answered.

    Raises:
        BadInput: this user may not use the engine's socket, or `DOCKER_HOST` is no address.
        Unavailable: no engine answers.
    """
    with engine_errors("the engine"):
        return docker.DockerClient.from_env(timeout=TIMEOUT_S)


def resolve_image(engine: docker.DockerClient, name: str) -> str:
    """The id of the image called `name`, pulled if the engine lacks it and its name has a registry.

    Raises:
        BadInput: there is no such image, or it is for another architecture than the engine's.
        Unavailable: its registry does not answer.
    """
    with engine_errors(f"image '{name}'"):
        try:
            image = engine.api.inspect_image(name)
        except docker.errors.ImageNotFound:
            image = _pull(engine, name)
        check_architecture(name, image["Architecture"], engine.api.version(api_version=False)["Arch"])
    return str(image["Id"])


def check_architecture(name: str, image: str, engine: str) -> None:
    """Check that the engine runs such an image by itself.

    Raises:
        BadInput: it does not.
    """
    if image != engine:
        raise BadInput(f"image '{name}' is for {image}, the engine runs {engine}: build or pull it for {engine}")


def check_reachable(endpoint: str, network: str) -> None:
    """Check that a container in `network` can mean the same as its worker by an endpoint.

    Raises:
        BadInput: the endpoint is this machine's loopback, which is another one in there.
    """
    host = urlsplit(endpoint).hostname or ""
    if network != "host" and (host == "localhost" or host.startswith("127.") or host == "::1"):
        raise BadInput(
            f"'{endpoint}' is the container's own loopback in network {network}: name a server that is on the network, "
            "or set [sim2edge] docker_network = host"
        )


def registry_of(name: str) -> str | None:
    """The registry in an image's name; None when it has none: such images are built here (`make images`)."""
    first, slash, _ = name.partition("/")
    return first if slash and (set(first) & {".", ":"} or first == "localhost") else None


def _pull(engine: docker.DockerClient, name: str) -> dict[str, str]:
    registry = registry_of(name)
    if registry is None:
        raise BadInput(f"image '{name}' is not on the engine: `make images` builds it, or name another in stages.yaml")
    try:
        repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
        for event in engine.api.pull(repository, None if "@" in name else tag, stream=True, decode=True):
            if "error" in event:
                raise pull_error(name, registry, str(event["error"]))
    except APIError as error:
        raise pull_error(name, registry, str(error.explanation)) from None
    return dict(engine.api.inspect_image(name))


def pull_error(name: str, registry: str, said: str) -> BadInput | Unavailable:
    """What a registry's answer means for who wanted the image."""
    said = one_line(said)
    if re.search(r"denied|unauthorized|no basic auth", said):
        return BadInput(f"image '{name}': registry {registry} does not let this engine pull it: {said}")
    if re.search(r"manifest unknown|not found|name unknown|repository does not exist", said):
        return BadInput(f"image '{name}' is neither on the engine nor in registry {registry}: {said}")
    return Unavailable(f"image '{name}' is not on the engine, and registry {registry} cannot be reached: {said}")


@contextlib.contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Turns what the client raises into one line about `what`.

    Raises:
        BadInput: the engine refuses, and would refuse again.
        Unavailable: the engine does not answer, or it failed.
    """
    try:
        yield
    except (DockerException, RequestException) as error:
        raise translate(what, error) from None


def translate(what: str, error: Exception) -> BadInput | Unavailable:
    """The line for an error of the client; see `engine_errors`."""
    if isinstance(error, APIError):
        said = one_line(str(error.explanation or error))
        hint = next((f": {hint}" for pattern, hint in HINTS if re.search(pattern, said)), "")
        failed = error.is_server_error() or "no space left" in said
        return (Unavailable if failed and "network" not in said else BadInput)(f"{what}: {said}{hint}")
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    causes = list(_causes(error))
    if any(isinstance(cause, PermissionError) for cause in causes):
        return BadInput(
            f"no permission on the Docker engine at {address}: add this user to the group that owns the socket, "
            "or set DOCKER_HOST to the engine proxy"
        )
    known = (said for cause in causes for kind, said in CAUSES.items() if isinstance(cause, kind))
    why = next(known, one_line(str(error)))
    return Unavailable(f"the Docker engine does not answer at {address}: {why}: start it, or set DOCKER_HOST")


def one_line(text: str) -> str:
    """`text` without line breaks, and not too long."""
    return " ".join(text.split())[:400]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from; clients wrap errors in arguments as well as in causes."""
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
