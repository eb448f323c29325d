"""Accept a form only from our own page, in the browser of the person who was shown it.

A foreign site can make a browser send a request with Airflow's session cookie. Two things stop it: the browser says
where a request comes from (`Sec-Fetch-Site`, `Origin`), and the form holds a token that is signed with the key of the
API server (`[api] secret_key`) for one person, one action and its fields, which no other site can read.
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from airflow.configuration import conf
from fastapi import Request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.exceptions import HTTPException

MAX_BYTES = 1 << 14
MAX_FIELDS = 30
LASTS = timedelta(hours=8)
"""How long a form that was shown may be sent."""
FORM = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form that was sent by one of our pages.

    Raises:
        HTTPException: it was sent from elsewhere (403), is none (415), or is too large (413).
    """
    if not from_us(request.headers, conf.get("api", "base_url", fallback="")):
        raise HTTPException(403, "This was not sent by a page of this site")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise HTTPException(415, f"Expected a form ({FORM})")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise HTTPException(413, "The form is too large")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError:
        raise HTTPException(400, "The form cannot be read") from None


def from_us(headers: Mapping[str, str], base_url: str) -> bool:
    """Return whether a browser says that a request comes from a page of this site.

    Every browser sends `Origin` with a form; `Sec-Fetch-Site`, which knows nothing of proxies, wins where it is sent.

    Args:
        headers: the request's.
        base_url: the address of Airflow for browsers, `[api] base_url`.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(headers.get("origin", ""))
    return bool(origin.netloc) and origin.netloc in (headers.get("host"), urlsplit(base_url).netloc)


def make_token(user: str, action: str, given: Mapping[str, str]) -> str:
    """Return the token of a form that is shown to a user."""
    return serializer().dumps([user, action, dict(given), secrets.token_hex(4)])


def read_token(token: str, user: str, action: str) -> tuple[dict[str, str], str, datetime]:
    """Return the fields, the nonce and the time of a form that was shown to this user.

    Raises:
        HTTPException: the token is not one of ours, of another user or action, or too old (403).
    """
    try:
        content, asked = serializer().loads(token, max_age=LASTS.total_seconds(), return_timestamp=True)
    except BadSignature:  # expired included
        raise HTTPException(403, "This form has expired: open it again") from None
    whose, what, given, nonce = content
    if (whose, what) != (user, action):
        raise HTTPException(403, "This form was shown to somebody else: open it again")
    return given, nonce, asked.astimezone(UTC)


def serializer() -> URLSafeTimedSerializer:
    """Return what signs tokens."""
    return URLSafeTimedSerializer(conf.get("api", "secret_key"), salt="sim2edge actions")
