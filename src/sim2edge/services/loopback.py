"""Find free TCP ports on loopback, and send small HTTP requests there, never through a proxy."""

import base64
import contextlib
import http.client
import json
import random
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import psutil

HOST = "127.0.0.1"
FIRST, LAST = 15000, 32000


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that are free now, below the kernel's range for outgoing connections."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(FIRST, LAST)
        if not is_taken(port):
            found.add(port)
    return sorted(found)


def is_taken(port: int) -> bool:
    """Return whether a server cannot listen on `port` of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def holder(port: int) -> psutil.Process | None:
    """Return the process that listens on `port`; None when it belongs to another user or is gone."""
    for connection in psutil.net_connections("tcp"):
        local = connection.laddr
        if connection.status == psutil.CONN_LISTEN and local and local.port == port and connection.pid:
            with contextlib.suppress(psutil.NoSuchProcess):
                return psutil.Process(connection.pid)
    return None


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header for basic authentication."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def fetch_json(
    url: str, headers: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None, timeout_s: float = 2.0
) -> dict[str, Any] | None:
    """GET `url`, or POST the JSON `body`; return the JSON object of the response, None when there is none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - loopback http
        url, data, {"Content-Type": "application/json", **(headers or {})}
    )
    try:
        with _direct.open(request, timeout=timeout_s) as answer:
            content = json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return content if isinstance(content, dict) else None
