"""Visitors of the pages that Airflow's API server mounts, as the fixture `api` of tests/plugins makes it."""

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
