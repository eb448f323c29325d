"""Serve the pages of the fleet: rings with their releases, all devices, one device with its release and health."""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from sim2edge.access import DEVICE
from sim2edge.catalog import Record
from sim2edge.enrol.sightings import Word
from sim2edge.errors import BadInput
from sim2edge.fleet import EXPLAINED, Device
from sim2edge_airflow.pages.acting.offered import offer_for_fleet, offer_for_ring
from sim2edge_airflow.pages.bus_view import MAX_DEVICES, BusView
from sim2edge_airflow.pages.page_words import short
from sim2edge_airflow.pages.rendering import cut, get_view, render
from sim2edge_airflow.pages.terms import Term, ring_terms

ROUTES = APIRouter()
SIGNS = {"running": "committed", "trial": "running", "starting": "running"}
"""A device's state to the class it is shown with; any other state is shown as failed."""
SILENT = timedelta(minutes=15)
"""A device without a report for this long is silent, whatever state it reported last."""


@ROUTES.get("/devices", response_class=HTMLResponse)
def show_devices(
    request: Request,
    user: GetUserDep,
    text: Annotated[str, Query(max_length=63)] = "",
    health: Literal["", "unhealthy"] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> HTMLResponse:
    """Return the page of rings and devices."""
    view = get_view(request)
    known = [(device, *judge(device, view.fleet_age_s)) for device in sorted(view.fleet(), key=natural)]
    unhealthy = sum(sign == "failed" for _, sign, _ in known)
    found = [each for each in known if text.lower() in each[0].device and (not health or each[1] == "failed")]
    shown, pages = cut(found, page)
    hidden = f"There are {view.devices:,} devices; the first {MAX_DEVICES:,} by name are read and counted here."
    return render(
        request,
        "devices.html",
        rings=[{**ring, "actions": offer_for_ring(user, view, ring)} for ring in list_rings(view)],
        former=list_former(view),
        actions=offer_for_fleet(user),
        devices=[(device, view.release_named(device.release), sign, word) for device, sign, word in shown],
        age_s=view.fleet_age_s,
        text=text,
        health=health,
        unhealthy=unhealthy,
        read=len(known),
        known=max(view.devices, len(known)),
        notes=[hidden] if view.devices > MAX_DEVICES else [],
        **pages,
    )


@ROUTES.get("/devices/{device}", response_class=HTMLResponse)
def show_device(request: Request, device: str) -> HTMLResponse:
    """Return the page of a device."""
    if not DEVICE.fullmatch(f"device-{device}"):
        raise BadInput(f"'{device[:80]}' is not the id of a device: a-z, 0-9 and '-', at most 63")
    view = get_view(request)
    found = view.device(device)
    sign, word = judge(found, view.fleet_age_s)
    release = view.release_named(found.release)
    return render(
        request,
        "device.html",
        age_s=view.fleet_age_s,
        device=found,
        sign=sign,
        word=word,
        release=release,
        before=view.release_named(found.previous),
        rollout=newest_rollout(view, release, found.ring),
        due=next((ring["release"] for ring in list_rings(view) if ring["name"] == found.ring), None),
    )


def judge(device: Device, age_s: float | None = None) -> tuple[str, str]:
    """Return a device's class in the style sheet, and its state in a word.

    Args:
        device: its status, as it was read; how long it was silent then is by the server's clock.
        age_s: seconds since it was read.
    """
    if device.identity in EXPLAINED or device.identity == Word.REVOKED:
        return "failed", str(device.identity)
    if device.silent_s is not None and device.silent_s + (age_s or 0) > SILENT.total_seconds():
        return "failed", "silent"
    return SIGNS.get(device.state, "failed"), short(device.state, 24)


def natural(device: Device) -> list[tuple[int, str]]:
    """Return a sort key that puts `pi-9` before `pi-10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", device.device)]


def list_rings(view: BusView) -> list[dict[str, Any]]:
    """Return each ring with its current rollout and release, and how many of its devices run that release."""
    catalog = view.catalog()
    rings = []
    for name, ref in sorted(view.refs().items()):
        if not name.startswith("refs/rings/"):
            continue
        ring = name.removeprefix("refs/rings/")
        rollout = catalog.get(ref.target)
        release = next(iter(rollout.inputs.get("release", ())), None) if rollout else None
        members = [device for device in view.fleet() if device.ring == ring]
        on = sum(release is not None and device.release == release.rpartition("/")[2] for device in members)
        rings.append(
            {"name": ring, "rollout": ref.target, "release": release, "record": rollout, "on": on, "of": len(members)}
        )
    return rings


def list_former(view: BusView) -> dict[str, list[Term]]:
    """Return ring to the terms of its former releases, the newest first."""
    terms = ring_terms(view.catalog(), view.refs())
    return {ring: [term for term in reversed(of_ring) if not term.current] for ring, of_ring in terms.items()}


def newest_rollout(view: BusView, release: Record | None, ring: str | None) -> Record | None:
    """Return the newest rollout of a release to a ring; None if there is none."""
    if release is None:
        return None
    catalog = view.catalog()
    found = [catalog.get(each) for each in catalog.children(release.reference)]
    rollouts = [each for each in found if each and each.numbers.get("ring") == ring]
    return max(rollouts, key=lambda each: each.finished, default=None)
