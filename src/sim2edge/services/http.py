"""Send small HTTP requests to servers on loopback, never through a proxy."""

import base64
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

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
