"""Parse a request to the engine strictly: a known endpoint with known parameters, or a refusal.

    call = read_call("GET", "/v1.45/containers/3f2a9c0d11e4/logs?stdout=1&follow=1", headers)

Only plain paths are accepted: nothing percent-encoded but the `@` of an image's digest, no `..`, no `//`, one version
prefix at most. One header is passed on, the login of a registry, and only when an image is pulled.
"""

import base64
import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sim2edge.engine_proxy.policy import SECRETS_FOLDER, Refusal

OLDEST_VERSION = 41
MAX_TARGET = 8192
CREATE_BODY_BYTES = 256 * 1024
ARCHIVE_BODY_BYTES = 4 * 2**20

TARGET = re.compile(r"(?:/v1\.(?P<version>\d{2}))?(?P<path>(?:/[A-Za-z0-9_][A-Za-z0-9_.:@-]*)+)")
CONTAINER = r"/containers/(?P<name>[0-9a-f]{12,64})"
IMAGE = r"/images/(?P<name>[A-Za-z0-9_./:@-]{1,255})"
FLAG = re.compile(r"true|false|True|False|0|1")
NO = re.compile(r"false|False|0")
NUMBER = re.compile(r"-?\d{1,12}")
TIME = re.compile(r"\d{1,12}(\.\d{1,9})?")
SIGNAL = re.compile(r"(SIG)?[A-Z]{3,5}[12]?|\d{1,2}")
PLATFORM = re.compile(r"linux/(amd64|arm64)(/v\d)?")
FOLDER = re.compile(SECRETS_FOLDER + r"(/[A-Za-z0-9_-]+)*/?")
LOGIN = re.compile(r"[A-Za-z0-9_=-]{1,8192}")
LOGIN_FIELDS = frozenset({"username", "password", "serveraddress", "email", "identitytoken", "registrytoken"})
ANY = re.compile(r"[^\x00-\x1f]{0,4096}", re.DOTALL)


class Action(StrEnum):
    """The supported requests."""

    PING = "ping"
    VERSION = "version"
    INFO = "info"
    NETWORK = "inspect a network"
    IMAGE = "inspect an image"
    PULL = "pull an image"
    LIST = "list containers"
    CREATE = "create a container"
    INSPECT = "inspect a container"
    START = "start a container"
    WAIT = "wait for a container"
    LOGS = "read a container's log"
    STOP = "stop a container"
    KILL = "kill a container"
    REMOVE = "remove a container"
    ARCHIVE = "write files into a container"


ON_CONTAINERS = frozenset(
    {Action.INSPECT, Action.START, Action.WAIT, Action.LOGS, Action.STOP, Action.KILL, Action.REMOVE, Action.ARCHIVE}
)
"""Requests to one container, which has to be of this deployment."""


@dataclass(frozen=True)
class Endpoint:
    """One endpoint of an action: method, path and the parameters it may have."""

    action: Action
    method: str
    path: re.Pattern[str]
    parameters: Mapping[str, re.Pattern[str]]
    body_bytes: int = 0
    """Largest body, bytes; 0: none."""


@dataclass(frozen=True)
class Call:
    """A parsed request."""

    action: Action
    method: str
    path: str
    """Without the version."""
    version: str
    """Such as `/v1.45`; empty when the request has none."""
    name: str
    """The container's id, the image's or the network's name; empty when the endpoint has none."""
    parameters: Mapping[str, str]
    body_bytes: int
    login: str = field(default="", repr=False)
    """The login of the registry that an image is pulled from, in the engine's form; a secret."""


def _endpoint(
    action: Action, method: str, path: str, body_bytes: int = 0, /, **parameters: re.Pattern[str]
) -> Endpoint:
    return Endpoint(action, method, re.compile(path), parameters, body_bytes)


ENDPOINTS = (
    _endpoint(Action.PING, "GET", "/_ping"),
    _endpoint(Action.PING, "HEAD", "/_ping"),
    _endpoint(Action.VERSION, "GET", "/version"),
    _endpoint(Action.INFO, "GET", "/info"),
    _endpoint(Action.NETWORK, "GET", "/networks/(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,127})"),
    _endpoint(Action.IMAGE, "GET", f"{IMAGE}/json"),
    _endpoint(Action.PULL, "POST", "/images/create", fromImage=ANY, tag=ANY, platform=PLATFORM),
    _endpoint(Action.LIST, "GET", "/containers/json", all=FLAG, limit=NUMBER, size=FLAG, trunc_cmd=FLAG, filters=ANY),
    _endpoint(Action.CREATE, "POST", "/containers/create", CREATE_BODY_BYTES, platform=PLATFORM),
    _endpoint(Action.INSPECT, "GET", f"{CONTAINER}/json"),
    _endpoint(Action.START, "POST", f"{CONTAINER}/start"),
    _endpoint(Action.WAIT, "POST", f"{CONTAINER}/wait", condition=re.compile("not-running|next-exit|removed")),
    _endpoint(
        Action.LOGS,
        "GET",
        f"{CONTAINER}/logs",
        stdout=FLAG,
        stderr=FLAG,
        follow=FLAG,
        timestamps=FLAG,
        tail=re.compile(r"all|\d{1,9}"),
        since=TIME,
        until=TIME,
    ),
    _endpoint(Action.STOP, "POST", f"{CONTAINER}/stop", t=NUMBER, signal=SIGNAL),
    _endpoint(Action.KILL, "POST", f"{CONTAINER}/kill", signal=SIGNAL),
    _endpoint(Action.REMOVE, "DELETE", CONTAINER, v=FLAG, force=FLAG, link=NO),
    _endpoint(
        Action.ARCHIVE,
        "PUT",
        f"{CONTAINER}/archive",
        ARCHIVE_BODY_BYTES,
        path=FOLDER,
        noOverwriteDirNonDir=FLAG,
        copyUIDGID=FLAG,
    ),
)


def read_call(method: str, target: str, headers: Mapping[str, str]) -> Call:
    """Parse one request.

    Args:
        method: as sent.
        target: the request target as sent: path and query.
        headers: names in lower case.

    Raises:
        Refusal: it is not one of the known requests.
    """
    _check_headers(headers)
    if len(target) > MAX_TARGET:
        raise Refusal("the path is too long")
    path, question, query = target.partition("?")
    found = TARGET.fullmatch(path.replace("%40", "@"))  # docker-py encodes the @ of a digest
    if not found or any(part in (".", "..") for part in path.split("/")):
        raise Refusal("the path is not plain")
    if found["version"] and int(found["version"]) < OLDEST_VERSION:
        raise Refusal(f"version 1.{found['version']} of the engine's API is older than 1.{OLDEST_VERSION}")
    for endpoint in ENDPOINTS:
        match = endpoint.path.fullmatch(found["path"]) if endpoint.method == method else None
        if match:
            version = f"/v1.{found['version']}" if found["version"] else ""
            parameters = _read_parameters(endpoint, query) if question else {}
            name = match.groupdict().get("name") or ""
            login = _read_login(headers) if endpoint.action is Action.PULL else ""
            return Call(endpoint.action, method, found["path"], version, name, parameters, endpoint.body_bytes, login)
    raise Refusal("not a request that stages need")


def _check_headers(headers: Mapping[str, str]) -> None:
    if "upgrade" in headers or "upgrade" in headers.get("connection", "").lower():
        raise Refusal("connections are not upgraded")
    if "transfer-encoding" in headers:
        raise Refusal("a body needs a Content-Length")
    if headers.get("content-encoding", "identity") != "identity":
        raise Refusal("a body has to be uncompressed")


def _read_login(headers: Mapping[str, str]) -> str:
    """Return the login of a pull, rebuilt; errors never quote it."""
    given = headers.get("x-registry-auth", "")
    if not given:
        return ""
    try:
        content = json.loads(base64.urlsafe_b64decode(given)) if LOGIN.fullmatch(given) else None
    except ValueError:
        content = None
    if not isinstance(content, dict) or not set(content) <= LOGIN_FIELDS or not _all_text(content.values()):
        raise Refusal("the login of the registry is invalid")
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


def _all_text(values: Iterable[object]) -> bool:
    return all(isinstance(each, str) for each in values)


def _read_parameters(endpoint: Endpoint, query: str) -> dict[str, str]:
    try:
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError as error:
        raise Refusal("the query is invalid") from error
    parameters: dict[str, str] = {}
    for name, value in pairs:
        allowed = endpoint.parameters.get(name)
        if name in parameters:
            raise Refusal(f"parameter '{name}' is repeated")
        if allowed is None:
            raise Refusal(f"parameter '{name[:40]}' is not allowed for '{endpoint.action}'")
        if not allowed.fullmatch(value):
            raise Refusal(f"parameter '{name}' has a value that is not allowed")
        parameters[name] = value
    return parameters
