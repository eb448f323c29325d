"""Carries an alert to a webhook and to people's mail, whichever `airflow.cfg` names, and gives up soon.

    [sim2edge] alert_webhook     https address, mostly a secret: AIRFLOW__SIM2EDGE__ALERT_WEBHOOK, or with _CMD
    [sim2edge] alert_email_to    addresses, with commas between; the server is Airflow's connection `smtp_default`

A receiver that is down, slow or broken costs a task `DEADLINE_S` seconds after its end and one line in its log, which
names neither the webhook's path nor a password.
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
"""How long the task's process waits for all receivers together."""
TIMEOUT_S = 5
"""Of one step of a conversation: connect, send, receive."""
TRIES = 2
PAUSE_S = 1.0


class Message(Protocol):
    """What a channel carries."""

    title: str

    @property
    def text(self) -> str:
        """For people."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""


def deliver(message: Message) -> None:
    """Send the message through every channel that is set up, at once; returns when all have ended or time is up."""
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
    """Return a setting; empty, with a line in the log, when it cannot be told: the other channel has one of its own."""
    try:
        return conf.get(section, name, fallback="")
    except Exception as error:  # of a command or a secrets backend, whose words may hold the secret
        log.warning("Alert: [%s] %s cannot be read: %s", section, name, type(error).__name__)
        return ""


def _start(name: str, send: Callable[[], None]) -> threading.Thread:
    """Send in a thread that ends with its process, and is not waited for longer than `deliver` does."""
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
    """Return what went wrong without the error's own words, which may hold an address or a login."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    reason = getattr(error, "reason", error)
    return f"{type(reason).__name__} {getattr(reason, 'strerror', None) or ''}".strip()


class NotFollowed(urllib.request.HTTPRedirectHandler):
    """Who sends us elsewhere has not taken the alert, and has no say in where it goes: a redirect is an error."""

    def redirect_request(self, *_: Any) -> None:
        """See `HTTPRedirectHandler`."""


def post(webhook: str, body: dict[str, Any]) -> None:
    """POST the body as JSON; tried again once when the receiver does not answer, or is at fault itself.

    Raises:
        ValueError: the address is not http or https.
        OSError: it was not taken.
    """
    if urlsplit(webhook).scheme not in ("http", "https"):
        raise ValueError("not an http address")
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
    """Send the message by the server of the connection `smtp_default`, by Airflow's provider.

    Raises:
        Exception: whatever the provider or the server finds wrong.
    """
    from airflow.providers.smtp.hooks.smtp import SmtpHook  # takes a third of a second: not while a DAG is parsed

    class BoundedHook(SmtpHook):
        """Less patient than the provider."""

        timeout = property(lambda _: TIMEOUT_S)  # type: ignore[assignment]
        smtp_retry_limit = property(lambda _: TRIES - 1)  # type: ignore[assignment]

    with BoundedHook() as server:
        server.send_email_smtp(
            to=receivers,
            subject=f"[sim2edge] {message.title}",
            html_content=f'<pre style="white-space: pre-wrap">{html.escape(message.text)}</pre>',
        )
