"""Offer an action on a page: a button, or why this user may not use it.

button(user, CAPTURE, batch="demo-1")    {"href": "/actions/capture?batch=demo-1", "words": "...", "may_not": None}
"""

from typing import Any
from urllib.parse import urlencode

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser

from sim2edge_airflow.pages.acting.action import Action
from sim2edge_airflow.pages.acting.permissions import missing


def button(user: BaseUser, action: Action, words: str = "", **given: str) -> dict[str, Any]:
    """Return a button for the macro `action_button`."""
    query = f"?{urlencode(given)}" if given else ""
    return {
        "href": f"/actions/{action.name}{query}",
        "words": words or action.title,
        "may_not": missing(user, action.permissions(given)),
    }
