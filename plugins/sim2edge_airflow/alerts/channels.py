"""Send an alert to a webhook and by e-mail, whichever `airflow.cfg` configures, within a deadline.

    [sim2edge] alert_webhook     https URL, usually a secret: AIRFLOW__SIM2EDGE__ALERT_WEBHOOK, or with _CMD
    [sim2edge] alert_email_to    addresses, separated by commas; the server is Airflow's connection `smtp_default`

A receiver that is down, slow or broken delays the end of a task's process by at most `DEADLINE_S` seconds and adds one
line to its log, which contains neither the webhook's path nor a password.
"""

import html
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

from airflow.sdk.configuration import conf
from airflow.sdk.log import mask_secret

log = logging.getLogger(__name__)

WEBHOOK, RECEIVERS = ("sim2edge", "alert_webhook"), ("sim2edge", "alert_email_to")
DEADLINE_S = 25.0
"""Maximum wait of the task's process for all receivers together."""
TIMEOUT_S = 5
"""Timeout of one socket operation: connect, send, receive."""
TRIES = 2
PAUSE_S = 1.0


class Message(Protocol):
    """What a channel sends."""

    title: str

    @property
    def text(self) -> str:
        """The message for people."""

    def to_json(self) -> dict[str, Any]:
        """Return the message for programs."""


def deliver(message: Message) -> None:
    """Send the message through every configured channel in parallel; return when all are done or time is up."""
    carriers = []
    if webhook := _read(*WEBHOOK).strip():
        mask_secret(webhook)
        carriers.append(_start("webhook", lambda: post(webhook, message.to_json())))
    if receivers := [each.strip() for each in _read(*RECEIVERS).split(",") if each.strip()]:
        carriers.append(_start("e-mail", lambda: mail(receivers, message)))
    deadline = time.monotonic() + DEADLINE_S
    for carrier in carriers:
        carrier.join(max(0.0, deadline - time.monotonic()))
        if carrier.is_alive():
            log.warning("Alert by %s: given up after %.0f s", carrier.name, DEADLINE_S)


def _read(section: str, name: str) -> str:
    """Return a setting; if it cannot be read, log that and return "", so that the other channel still works."""
    try:
        return conf.get(section, name, fallback="")
    except Exception as error:  # raised by a command or a secrets backend; its text may contain the secret
        log.warning("Alert: [%s] %s cannot be read: %s", section, name, type(error).__name__)
        return ""


def _start(name: str, send: Callable[[], None]) -> threading.Thread:
    """Start sending in a daemon thread, so that a stuck receiver cannot keep the process alive."""
    carrier = threading.Thread(target=_carry, args=(name, send), name=name, daemon=True)
    carrier.start()
    return carrier


def _carry(name: str, send: Callable[[], None]) -> None:
    try:
        send()
        log.info("Alert by %s: sent", name)
    except Exception as error:
        log.warning("Alert by %s: not sent: %s", name, _explain(error))


def _explain(error: Exception) -> str:
    """Return the kind of an error without its text, which may contain a URL or a login."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    reason = getattr(error, "reason", error)
    return f"{type(reason).__name__} {getattr(reason, 'strerror', None) or ''}".strip()


class NotFollowed(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as an error: the alert was not accepted, and its receiver is the operator's choice."""

    def redirect_request(self, *_: Any) -> None:
        """See `HTTPRedirectHandler`."""


def post(webhook: str, body: dict[str, Any]) -> None:
    """Send the body as JSON by HTTP POST; retry once on a network error, a server error or status 429.

    Raises:
        ValueError: the URL is not http or https.
        OSError: the receiver did not accept it.
    """
    if urlsplit(webhook).scheme not in ("http", "https"):
        raise ValueError("not an http URL")
    headers = {"Content-Type": "application/json", "User-Agent": "sim2edge"}
    request = urllib.request.Request(webhook, json.dumps(body).encode(), headers)  # noqa: S310 - checked above
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.build_opener(NotFollowed).open(request, timeout=TIMEOUT_S):
                return
        except OSError as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429
            if refused or attempt == TRIES:
                raise
        time.sleep(PAUSE_S)


def mail(receivers: list[str], message: Message) -> None:
    """Send the message with Airflow's SMTP provider, by the connection `smtp_default`.

    Raises:
        Exception: any error of the provider or the server.
    """
    from airflow.providers.smtp.hooks.smtp import SmtpHook  # takes a third of a second: not while a DAG is parsed

    class BoundedHook(SmtpHook):
        """A hook with a shorter timeout and fewer retries than the connection may set."""

        timeout = property(lambda _: TIMEOUT_S)  # type: ignore[assignment]
        smtp_retry_limit = property(lambda _: TRIES - 1)  # type: ignore[assignment]

    with BoundedHook() as server:
        server.send_email_smtp(
            to=receivers,
            subject=f"[sim2edge] {message.title}",
            html_content=f'<pre style="white-space: pre-wrap">{html.escape(message.text)}</pre>',
        )
