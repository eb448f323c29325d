"""Serve the lineage pages, a clickable graph: from a device back to the seeds, from a batch to all downstream."""

from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from sim2edge.catalog import Catalog, Record, headline
from sim2edge.fleet import Device
from sim2edge.manifest import split_reference
from sim2edge.stages import kinds
from sim2edge_airflow.pages.bus_view import CHAMPION
from sim2edge_airflow.pages.fleet_page import newest_rollout
from sim2edge_airflow.pages.lineage_graph import Node, draw
from sim2edge_airflow.pages.page_words import short
from sim2edge_airflow.pages.rendering import get_view, render

ROUTES = APIRouter()
MAX_LISTED = 200


@ROUTES.get("/lineage/devices/{device}", response_class=HTMLResponse)
def show_device_lineage(request: Request, device: str) -> HTMLResponse:
    """Return the lineage page of a device: from its release back to the episodes."""
    view = get_view(request)
    found = view.device(device)
    release = view.release_named(found.release)
    start = newest_rollout(view, release, found.ring) or release
    above = [start.reference, *view.catalog().ancestors(start.reference)] if start else []
    return _show(request, f"device:{device}", above, [], [found], found.device)


@ROUTES.get("/lineage/{kind}/{partition}/{identity}", response_class=HTMLResponse)
def show_lineage(request: Request, kind: str, partition: str, identity: str) -> HTMLResponse:
    """Return the lineage page of an artifact, upstream and downstream."""
    view = get_view(request)
    reference = "/".join(split_reference(f"{kind[:80]}/{partition[:80]}/{identity[:80]}"))
    view.record(reference)
    catalog = view.catalog()
    below = catalog.descendants(reference)
    releases = {each.rpartition("/")[2] for each in (reference, *below) if each.startswith("release/")}
    devices = [device for device in view.fleet() if device.release in releases]
    return _show(request, reference, catalog.ancestors(reference), below, devices, reference)


def _show(
    request: Request, focus: str, above: Sequence[str], below: Sequence[str], devices: Sequence[Device], title: str
) -> HTMLResponse:
    view = get_view(request)
    catalog, root = view.catalog(), request.scope.get("root_path", "")
    own = [focus] if catalog.get(focus) else []
    records = [record for each in (*above, *own, *below) if (record := catalog.get(each))]
    champion = view.refs().get(CHAMPION)
    nodes = [make_node(record, root, champion.target if champion else None) for record in records]
    nodes += [make_device_node(device, root) for device in devices]
    there = {record.reference for record in records}
    edges = {(parent, r.reference) for r in records for parent in r.made_from if parent in there}
    edges |= {(source, f"device:{device.device}") for device in devices for source in sources(records, device)}
    others = [device for device in devices if f"device:{device.device}" != focus]
    return render(
        request,
        "lineage.html",
        graph=draw(focus, nodes, edges, "#all"),
        title=title,
        focus=focus,
        lists=[("Made from", list_kinds(catalog, above, ())), ("Downstream", list_kinds(catalog, below, others))],
        most=MAX_LISTED,
    )


def make_node(record: Record, root: str, champion: str | None) -> Node:
    """Return the box of an artifact."""
    column = "shard" if record.shard else record.kind
    state = "refused" if record.refused else "champion" if record.reference == champion else ""
    words = "refused" if record.refused else "champion" if state else headline(record)
    if record.kind == "episodes" and "episodes" in record.numbers:
        words = f"{record.numbers['episodes']} seeds" + (f", shard {record.shard}" if record.shard else "")
    href = f"{root}/lineage/{record.reference}"
    return Node(
        record.reference, column, short(record.partition, 16), short(words or record.id, 20), href, state,
        record.finished.timestamp(),
    )  # fmt: skip


def sources(records: Sequence[Record], device: Device) -> Sequence[str]:
    """Return the nodes with a line to a device: the rollouts of its release to its ring, else the release."""
    releases = [record.reference for record in records if record.kind == "release" and record.id == device.release]
    rollouts = [
        record.reference
        for record in records
        if record.numbers.get("ring") == device.ring and set(releases) & set(record.made_from)
    ]
    return rollouts or releases


def make_device_node(device: Device, root: str) -> Node:
    """Return the box of a device."""
    href = f"{root}/lineage/devices/{device.device}"
    return Node(f"device:{device.device}", "device", short(device.device, 16), short(device.state, 20), href)


def list_kinds(catalog: Catalog, references: Iterable[str], devices: Sequence[Device]) -> list[dict[str, Any]]:
    """Return references by kind, newest first, and devices."""
    records = [record for each in references if (record := catalog.get(each))]
    records.sort(key=lambda record: record.finished, reverse=True)
    lists: list[dict[str, Any]] = [
        {"kind": kind, "records": [record for record in records if record.kind == kind], "devices": ()}
        for kind in kinds()
    ]
    lists.append({"kind": "device", "records": (), "devices": devices})
    return [each for each in lists if each["records"] or each["devices"]]
