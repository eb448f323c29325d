"""The webhook by which an S3 server wakes `watch_inbox`: `POST /sim2edge/inbox/arrived` on Airflow's API server.

    SIM2EDGE_INBOX_TOKEN=<16 characters or more>     in the environment of the API server; without it there is no hook
    Authorization: Bearer <the same>                 in the request

It takes the events of SeaweedFS's filer, and those of S3 as MinIO sends them, and does one thing: if one of them is of
the READY.json of a batch id in our bucket, it notes that something arrived. What the event says is not believed:
whoever is woken looks at the inbox. So the token, if it got into wrong hands, opens no more than a look: however much
is posted, one run waits, and none while the DAG is paused.
"""

import asyncio
import hmac
import json
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_plus

from airflow.assets.manager import asset_manager
from airflow.models.asset import AssetDagRunQueue, AssetModel, DagScheduleAssetReference
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Select, exists, select

from sim2edge.manifest import PARTITION
from sim2edge_airflow.assets import ARRIVED

TOKEN_VARIABLE = "SIM2EDGE_INBOX_TOKEN"  # noqa: S105 - the name of a variable
MIN_TOKEN = 16
MAX_BODY = 256 * 1024
MAX_S = 10
"""Seconds that sending it may take."""
NAMED = 5
"""Batches that the event names, for whoever reads it."""
READY_KEY = re.compile(rf"inbox/({PARTITION.pattern})/READY\.json")
WRITTEN = ("create", "update", "rename", "ObjectCreated:", "s3:ObjectCreated:")
"""How the events that matter are called, or what they begin with."""


def make_hook() -> FastAPI:
    """The application that Airflow mounts under `/sim2edge/inbox`."""
    app = FastAPI(title="sim2edge inbox", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/arrived", take_events, methods=["POST"], dependencies=[Depends(check_token)])
    return app


def check_token(request: Request) -> None:
    """Let nobody in without the token; answer 404, as if there was no such page, where none is set."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    if len(token) < MIN_TOKEN:
        raise HTTPException(404, "Not Found")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise HTTPException(401, "not authenticated", {"WWW-Authenticate": "Bearer"})


async def take_events(request: Request) -> dict[str, int]:
    """Note that something arrived, if the events say so; how many batches they name."""
    try:
        async with asyncio.timeout(MAX_S):
            body = await read_body(request)
    except TimeoutError:
        raise HTTPException(408, f"not sent within {MAX_S} s") from None
    try:
        batches = sorted(set(named_batches(json.loads(body), os.environ.get("SIM2EDGE_BUCKET", ""))))
    except (ValueError, RecursionError):
        raise HTTPException(400, "not JSON") from None
    if batches and not await run_in_threadpool(note_arrival, batches):
        raise HTTPException(503, f"Airflow does not know the asset {ARRIVED.name} yet: try again")
    return {"arrived": len(batches)}


async def read_body(request: Request) -> bytes:
    """What was posted, if it is not too much."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"more than {MAX_BODY} bytes")
    return bytes(body)


def named_batches(content: Any, bucket: str) -> Iterator[str]:
    """The batches of `bucket` whose READY.json was written, by the events in `content`, whatever it is."""
    for name, key in _written_objects(content, bucket):
        if name == bucket and (found := READY_KEY.fullmatch(key)):
            yield found[1]


def _written_objects(content: Any, bucket: str) -> Iterator[tuple[str, str]]:
    """Bucket and key of the objects that were written."""
    if not isinstance(content, dict):
        return
    if str(content.get("event_type", "")).startswith(WRITTEN):  # SeaweedFS
        folder, found, key = str(content.get("key", "")).partition(f"/buckets/{bucket}/")
        if found and not folder:
            yield bucket, key
    records = content.get("Records")
    for record in records if isinstance(records, list) else ():  # S3, MinIO
        try:
            name, key = record["s3"]["bucket"]["name"], record["s3"]["object"]["key"]
            written = record["eventName"].startswith(WRITTEN)
        except (KeyError, TypeError, AttributeError):
            continue
        if written and isinstance(name, str) and isinstance(key, str):
            yield name, unquote_plus(key)


def note_arrival(batches: list[str]) -> bool:
    """Give the asset an event, if it starts a run that would otherwise not be: one that is to come sees these, too.

    Returns:
        whether Airflow knows the asset.
    """
    with create_session() as session:
        asset = session.scalar(select(AssetModel).where(AssetModel.name == ARRIVED.name))
        if asset is not None and session.scalar(asleep(asset.id).limit(1)):
            extra = {"from": "webhook", "count": len(batches), "some": batches[:NAMED]}
            asset_manager.register_asset_change(asset=asset, extra=extra, session=session)
        return asset is not None


def asleep(asset: int) -> Select[tuple[str]]:
    """The DAGs that an event of the asset would wake: not paused, and no run, or event for one, waits."""
    return (
        select(DagModel.dag_id)
        .join(DagScheduleAssetReference, DagScheduleAssetReference.dag_id == DagModel.dag_id)
        .where(
            DagScheduleAssetReference.asset_id == asset,
            DagModel.is_paused.is_(False),
            ~exists().where(AssetDagRunQueue.asset_id == asset, AssetDagRunQueue.target_dag_id == DagModel.dag_id),
            ~exists().where(DagRun.dag_id == DagModel.dag_id, DagRun.state == DagRunState.QUEUED),
        )
    )
