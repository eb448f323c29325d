"""Serve the page of storage: bytes by kind and by batch, what retention retired and would retire, what caching saved.

Everything but the records of retired artifacts comes from the catalog in memory. What the policy would retire is worked
out from what the pages know: the refs of models, rings and datasets, and the newest artifacts of each batch instead of
its refs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.configuration import conf
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from sim2edge.alternates import own_refs
from sim2edge.catalog import Record
from sim2edge.cost import Total, total
from sim2edge.errors import BadInput
from sim2edge.retention import Removal, RetentionPolicy, choose, protect, read_policy
from sim2edge.retire import Retired, find_used, live_refs
from sim2edge_airflow.pages.bus_view import MAX_RETIRED, BusView
from sim2edge_airflow.pages.charts import draw_bars
from sim2edge_airflow.pages.costs import MAX_OUTCOMES, find_savings
from sim2edge_airflow.pages.flywheel_page import ask
from sim2edge_airflow.pages.rendering import cut, get_view, render

ROUTES = APIRouter()
POLICY = "retention.yml"
MAX_LISTED = 50


@dataclass(frozen=True)
class Share:
    """What the artifacts of a kind, or of a batch, take."""

    name: str
    total: Total
    share: float
    """Of the bytes of all, 0 to 1."""


@dataclass(frozen=True)
class Removals:
    """Artifacts that a run of retention removed, or would remove."""

    count: int
    bytes: int
    listed: Sequence[Removal | Retired]
    at: datetime | None = None
    by: str = ""


@ROUTES.get("/storage", response_class=HTMLResponse)
def show_storage(
    request: Request, session: SessionDep, page: Annotated[int, Query(ge=1, le=100_000)] = 1
) -> HTMLResponse:
    """Return the page of storage, the largest batches first."""
    view, notes = get_view(request), list[str]()
    catalog = view.catalog()
    records = catalog.records()
    by_kind = share_out(records, lambda record: record.kind)
    shown, pages = cut(share_out(records, lambda record: record.partition), page)
    policy, retired = find_policy(notes), view.retired()
    notes += [f"Only {MAX_RETIRED:,} retired artifacts are read."] if len(retired) >= MAX_RETIRED else []
    return render(
        request,
        "storage.html",
        whole=total(records),
        by_kind=by_kind,
        chart=draw_bars("Bytes by kind", {each.name: each.total.bytes for each in by_kind}),
        by_batch=shown,
        largest=sorted(records, key=lambda record: -record.bytes)[:10],
        policy=policy,
        would=preview(view, records, policy, datetime.now(UTC)) if policy and is_active(policy) else None,
        last=find_last(retired),
        retired=len(retired),
        savings=ask(notes, lambda: find_savings(session, catalog), None),
        most=MAX_OUTCOMES,
        notes=notes
        + ([f"Only {MAX_RETIRED:,} retired artifacts are read."] if len(view.retired()) >= MAX_RETIRED else []),
        **pages,
    )


def share_out(records: Iterable[Record], name_of: Any) -> list[Share]:
    """Return what the artifacts of each name take, the largest first."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(name_of(record), []).append(record)
    totals = {name: total(found) for name, found in groups.items()}
    whole = sum(each.bytes for each in totals.values()) or 1
    return sorted(
        (Share(name, each, each.bytes / whole) for name, each in totals.items()),
        key=lambda each: (-each.total.bytes, each.name),
    )


def find_policy(notes: list[str]) -> RetentionPolicy | None:
    """Return the policy of the DAG `retention`; None if there is no file; append a note if it is invalid."""
    path = Path(conf.get("core", "dags_folder")) / POLICY
    try:
        return read_policy(path) if path.is_file() else None
    except (BadInput, OSError) as error:
        notes.append(f"The policy of retention is not shown: {error}")
        return None


def is_active(policy: RetentionPolicy) -> bool:
    """Return whether the policy may retire anything."""
    return bool(policy.kinds)


def preview(view: BusView, records: Sequence[Record], policy: RetentionPolicy, now: datetime) -> Removals:
    """Return what the policy would retire now."""
    roots = [*live_refs(list(view.refs().values())), *find_used(records, view.fleet())]
    kept = protect(records, roots, now)
    erased = {record.reference for record in records if view.is_erased(record.reference)}
    found = choose(records, kept | erased, policy, guess_owned(records), now)
    return Removals(len(found), sum(each.bytes for each in found), found[:MAX_LISTED])


def guess_owned(records: Iterable[Record]) -> Mapping[str, str]:
    """Return the newest artifact of each batch, by `<kind>/<batch>`, of the kinds for which a batch has a ref."""
    owned: dict[str, Record] = {}
    for record in records:
        name = f"{record.kind}/{record.partition}"
        if (
            record.kind in OWNED
            and record.shard is None
            and (name not in owned or owned[name].finished < record.finished)
        ):
            owned[name] = record
    return {name: record.reference for name, record in owned.items()}


OWNED = frozenset(own_refs())


def find_last(retired: Sequence[Retired]) -> Removals | None:
    """Return what the last run of retention retired; None if nothing was ever retired."""
    if not retired:
        return None
    newest = max(retired, key=lambda each: each.at)
    found = sorted((each for each in retired if each.at == newest.at), key=lambda each: (-each.bytes, each.reference))
    return Removals(len(found), sum(each.bytes for each in found), found[:MAX_LISTED], newest.at, newest.by)
