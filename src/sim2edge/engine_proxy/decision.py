"""Decide whether a request is allowed, and rebuild it for the engine.

decide(call, body, Facts(container=ContainerFacts(...)), policy)     -> Allowed(...) or Refused("reason")
"""

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim2edge.engine_proxy.calls import ON_CONTAINERS, Action, Call
from sim2edge.engine_proxy.create_body import IMAGE_ID, IMAGE_NAME, check_create, read_json
from sim2edge.engine_proxy.policy import DEPLOYMENT_LABEL, Policy, Refusal

FILTERS = frozenset({"label", "status", "id", "exited"})


@dataclass(frozen=True)
class ContainerFacts:
    """The engine's data of the container that a call is about."""

    id: str
    """All 64 digits."""
    deployment: str | None
    """Value of its deployment label."""
    state: str
    """created, running, exited ..."""


@dataclass(frozen=True)
class Facts:
    """The engine's data that the decision needs."""

    container: ContainerFacts | None = None
    image_names: tuple[str, ...] = ()
    """Names of the image that the call names by its id."""


@dataclass(frozen=True)
class Allowed:
    """A request to forward to the engine."""

    method: str
    target: str
    body: bytes | None = None
    content_type: str | None = None
    login: str = field(default="", repr=False)
    """The login of a registry; a secret."""


@dataclass(frozen=True)
class Refused:
    """The reason not to forward a request."""

    reason: str


def image_to_look_up(call: Call, body: bytes) -> str | None:
    """Return the id of an image whose names the decision needs; None: not needed.

    Raises:
        Refusal: the body is invalid.
    """
    image = call.name if call.action is Action.IMAGE else None
    if call.action is Action.CREATE:
        image = read_json(body).get("Image")
    return image if isinstance(image, str) and IMAGE_ID.fullmatch(image) else None


def decide(call: Call, body: bytes, facts: Facts, policy: Policy) -> Allowed | Refused:
    """Allow a call or refuse it; pure."""
    try:
        return _decide(call, body, facts, policy)
    except Refusal as refusal:
        return Refused(str(refusal))


def _decide(call: Call, body: bytes, facts: Facts, policy: Policy) -> Allowed:
    if len(body) > call.body_bytes:
        raise Refusal(f"'{call.action}' takes no body of {len(body)} bytes")
    if call.action in ON_CONTAINERS:
        return _on_container(call, body, facts.container, policy)
    if call.action is Action.CREATE:
        content = read_json(body)
        check_create(content, facts.image_names, policy)
        return _allow(call, call.path, call.parameters, json.dumps(content).encode(), "application/json")
    if call.action is Action.LIST:
        own = {**call.parameters, "filters": _own_filters(call.parameters.get("filters", "{}"), policy)}
        return _allow(call, call.path, own)
    if call.action is Action.IMAGE:
        _check_image_name(call.name, facts.image_names, policy)
    if call.action is Action.PULL:
        _check_pull(call.parameters, policy)
    if call.action is Action.NETWORK and call.name != policy.network:
        raise Refusal(f"network '{call.name}' is not '{policy.network}'")
    return _allow(call, call.path, call.parameters)


def _on_container(call: Call, body: bytes, container: ContainerFacts | None, policy: Policy) -> Allowed:
    if container is None or container.deployment != policy.deployment:
        raise Refusal(f"container {call.name[:12]} is not one of deployment '{policy.deployment}'")
    path = call.path.replace(call.name, container.id, 1)  # the full id of the container that was checked
    if call.action is not Action.ARCHIVE:
        return _allow(call, path, call.parameters)
    if "path" not in call.parameters:
        raise Refusal("the folder to write into is missing")
    if container.state != "created":
        raise Refusal(f"container {call.name[:12]} has been started: write files before that")
    return _allow(call, path, call.parameters, body, "application/x-tar")


def _check_image_name(name: str, names: tuple[str, ...], policy: Policy) -> None:
    named = names if IMAGE_ID.fullmatch(name) else (name,)
    if not any(IMAGE_NAME.fullmatch(each) and policy.names_image(each) for each in named):
        raise Refusal(f"image '{name}' does not begin with any of: {', '.join(policy.image_prefixes)}")


def _check_pull(parameters: Mapping[str, str], policy: Policy) -> None:
    if not policy.pull:
        raise Refusal("images are not pulled in this deployment")
    name, tag = parameters.get("fromImage", ""), parameters.get("tag", "")
    if not tag and ":" not in name.rpartition("/")[2]:
        raise Refusal("an image has to be pulled by tag or digest")
    whole = f"{name}@{tag}" if tag.startswith("sha256:") else f"{name}:{tag}" if tag else name
    _check_image_name(whole, (), policy)


def _own_filters(text: str, policy: Policy) -> str:
    """Return the filters of a listing, narrowed to this deployment."""
    filters: dict[str, Any] = read_json(text.encode())
    for name, values in filters.items():
        if name not in FILTERS or not isinstance(values, list) or not all(isinstance(each, str) for each in values):
            raise Refusal(f"filter '{name[:40]}' is not allowed")
    labels = [*filters.get("label", []), f"{DEPLOYMENT_LABEL}={policy.deployment}"]
    return json.dumps({**filters, "label": labels})


def _allow(
    call: Call, path: str, parameters: Mapping[str, str], body: bytes | None = None, content_type: str | None = None
) -> Allowed:
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    return Allowed(call.method, f"{call.version}{path}{query}", body, content_type, call.login)
