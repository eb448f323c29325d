"""Visitors of the pages that Airflow's API server mounts, as the fixture `api` of tests/plugins makes it."""

import re
from collections.abc import Mapping
from typing import Any

API_PASSWORDS = {user: f"{user}-password" for user in ("admin", "op", "user", "viewer")}
"""User to password; each is named after its role."""


def pages_of(api: Any) -> Any:
    """The application of the pages."""
    return next(route.app for route in api.routes if getattr(route, "path", "") == "/sim2edge")


def log_in(api: Any, user: str | None) -> Any:
    """A client with the token of `user`, or without any; the pages forget what they knew of the bus."""
    from starlette.testclient import TestClient

    from sim2edge_airflow.pages.bus_view import BusView

    pages_of(api).state.view = BusView()
    client = TestClient(api, base_url="http://127.0.0.1", follow_redirects=False)
    if user:
        answer = client.post("/auth/token", json={"username": user, "password": API_PASSWORDS[user]})
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return client


FROM_US = {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"}
"""What a browser says of a form that one of our pages sends."""
TOKEN = re.compile(r'name="token" value="([^"]+)"')
WHY = "the new hall"


def token_of(client: Any, action: str) -> str:
    """The token of the form of an action, as its page shows it."""
    page = client.get(f"/sim2edge/actions/{action}")
    assert page.status_code == 200, page.text[-600:]
    found = TOKEN.search(page.text)
    assert found, page.text[-1500:]
    return found[1]


def send(
    client: Any,
    action: str,
    token: str | None = None,
    reason: str = WHY,
    headers: Mapping[str, str] = FROM_US,
    typed: str = "",
) -> Any:
    """Send the form of an action: `capture?batch=demo-1`."""
    data = {"token": token or token_of(client, action), "reason": reason, "typed": typed}
    return client.post(f"/sim2edge/actions/{action.partition('?')[0]}", data=data, headers=headers)
