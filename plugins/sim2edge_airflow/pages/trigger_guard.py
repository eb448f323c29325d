"""Answer a request that would start a run with a mistake in it: middleware of Airflow's API server.

It reads the requests of UI and API that start runs of our DAGs, of users who are logged in, and answers 422 where
`trigger_checks.py` finds a mistake, 409 where the batch is withdrawn or has other settings. The form of a DAG names the
batch in its first field, `batch`, as Airflow hides the partition key among its advanced options: it becomes the
partition key here. Everything else passes unchanged.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sim2edge.errors import BadInput, Unavailable
from sim2edge_airflow import airflow_database as database
from sim2edge_airflow import trigger_checks as checks
from sim2edge_airflow.connections import connect_bus
from sim2edge_airflow.deployment_settings import read_default_preset

TRIGGER = re.compile(r"/api/v2/dags/([^/]+)/dagRuns/?")
BACKFILL = re.compile(r"/api/v2/backfills(/dry_run)?/?")
MAX_BODY = 1 << 20
PATIENCE_S = 2.0
"""Seconds to wait for S3: a run whose batch could not be compared is let through, and its first task compares."""


class TriggerGuard:
    """ASGI middleware around Airflow's API."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with a mistake; pass on every other."""
        if scope["type"] != "http" or scope["method"] != "POST" or not starts_runs(scope["path"]):
            await self.app(scope, receive, send)
            return
        body, again = await read_body(receive)
        if answer := await check_request(Request(scope, again), body):
            await answer(scope, again, send)
            return
        await self.app(*name_partition(scope, again, body), send)


def starts_runs(path: str) -> bool:
    """Return whether a POST to this path starts runs."""
    return bool(find_path(TRIGGER, path) or find_path(BACKFILL, path))


def find_path(pattern: re.Pattern[str], path: str) -> re.Match[str] | None:
    """Match the end of a path: Airflow may be mounted below another."""
    start = path.find("/api/v2/")
    return pattern.fullmatch(path, start) if start >= 0 else None


async def read_body(receive: Receive) -> tuple[bytes, Receive]:
    """Return the body, and a `receive` that yields its messages again."""
    messages: list[Message] = []
    size, more = 0, True
    while more and size <= MAX_BODY:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    body = b"".join(message.get("body", b"") for message in messages)

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return body, again


def name_partition(scope: Scope, receive: Receive, body: bytes) -> tuple[Scope, Receive]:
    """Return a request whose partition key is the field `batch` of the trigger form; unchanged if that is empty."""
    found = find_path(TRIGGER, scope["path"])
    try:
        content = json.loads(body) if found and checks.has_batch(found.group(1)) else None
    except (ValueError, RecursionError):
        content = None
    conf = content.get("conf") if isinstance(content, dict) else None
    if not isinstance(conf, dict) or not conf.get("batch") or content.get("partition_key"):
        return scope, receive
    named = json.dumps(content | {"partition_key": conf["batch"]}).encode()
    kept = [each for each in scope["headers"] if each[0].lower() != b"content-length"]
    return {**scope, "headers": [*kept, (b"content-length", str(len(named)).encode())]}, say_once(named, receive)


def say_once(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields this body, and then what `receive` yields after the body it has yielded."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        if messages:
            return messages.pop(0)
        message = await receive()
        while message["type"] == "http.request":
            message = await receive()
        return message

    return again


async def check_request(request: Request, body: bytes) -> JSONResponse | None:
    """Return the answer to a request with a mistake; None: it may pass, as Airflow answers all others itself."""
    try:
        content = json.loads(body)
        user = await get_user(request, None, await bearer_scheme(request))
    except (ValueError, RecursionError, HTTPException):
        return None
    if user is None or not isinstance(content, dict):
        return None
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate, which neither a file name nor an answer can have
        return JSONResponse({"detail": "the request has a character that is not Unicode"}, 422)
    try:
        await run_in_threadpool(check_content, request.url.path, content)
    except checks.Taken as error:
        return JSONResponse({"detail": str(error)}, 409)
    except BadInput as error:
        return JSONResponse({"detail": str(error)}, 422)
    return None


def check_content(path: str, content: Mapping[str, Any]) -> None:
    """Check the content of a request that starts runs.

    Raises:
        BadInput: there is a mistake in it.
        Taken: see `check_run`.
    """
    trigger = find_path(TRIGGER, path)
    dag_id = trigger.group(1) if trigger else str(content.get("dag_id"))
    conf = content.get("conf" if trigger else "dag_run_conf") or {}
    if isinstance(conf, Mapping):
        check_run(dag_id, content.get("partition_key"), conf, backfill=not trigger)


def check_run(dag_id: str, partition: object, conf: Mapping[str, Any], *, backfill: bool = False) -> None:
    """Check a run that somebody wants to start; of a DAG that is not ours, nothing.

    Args:
        dag_id: the DAG.
        partition: its partition key; not looked at for a backfill.
        conf: its conf.
        backfill: whether it stands for the runs of a backfill.

    Raises:
        BadInput: there is a mistake in it.
        Taken: its batch is withdrawn, or has, or is getting, other settings.
    """
    if not checks.is_ours(dag_id):
        return
    preset = read_default_preset()
    checks.check_conf(dag_id, conf, preset)
    if backfill:
        checks.check_no_batch(conf)
    batch = None if backfill else checks.check_batch(dag_id, partition, conf.get("batch"))
    if batch is None:
        return
    with database.open_session() as session:
        active = [checks.ActiveRun(*row) for row in database.active_runs(session, dag_id, batch)]
    checks.check_no_other(dag_id, batch, conf, active)
    with suppress(Unavailable):
        if dag_id in checks.MAKES_DATA:
            checks.check_not_withdrawn(connect_bus(patience_s=PATIENCE_S), batch)
        if dag_id == "sim_capture":
            checks.check_settings_fit(connect_bus(patience_s=PATIENCE_S), batch, conf, preset)
