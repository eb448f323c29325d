"""The fleet: rings and what they were given, every device, one device with what it runs and how it is."""

from typing import Annotated, Any

from bus_view import BusView
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from flywheel_grid import PAGE
from pages import get_view, render

from sim2edge.access import DEVICE
from sim2edge.catalog import Record
from sim2edge.errors import BadInput
from sim2edge.fleet import Device

ROUTES = APIRouter()
WELL = ("running",)
STATES = {"running": "committed", "trial": "running", "starting": "running"}
"""A device's state to the sign it is shown with; any other is shown as failed."""
SILENT_S = 900
"""Seconds without a word after which a device counts as silent."""


@ROUTES.get("/devices", response_class=HTMLResponse)
def show_devices(
    request: Request,
    text: Annotated[str, Query(max_length=63)] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> HTMLResponse:
    """Rings, and the devices of the fleet."""
    view = get_view(request)
    devices = [each for each in view.fleet() if text.lower() in each.device]
    shown = devices[(page - 1) * PAGE : page * PAGE]
    return render(
        request,
        "devices.html",
        rings=list_rings(view),
        devices=[(each, view.release_named(each.release), sign(each)) for each in shown],
        text=text,
        page=page,
        pages=max((len(devices) + PAGE - 1) // PAGE, 1),
        total=len(devices),
    )


@ROUTES.get("/devices/{device}", response_class=HTMLResponse)
def show_device(request: Request, device: str) -> HTMLResponse:
    """One device."""
    if not DEVICE.fullmatch(f"device-{device}"):
        raise BadInput(f"'{device[:80]}' is not the id of a device: a-z, 0-9 and '-', at most 63")
    view = get_view(request)
    found = next((each for each in view.fleet() if each.device == device), None)
    if found is None:
        raise BadInput(f"'{device}': no such device has said anything yet")
    release = view.release_named(found.release)
    rollout = newest_rollout(view, release, found.ring)
    return render(
        request,
        "device.html",
        device=found,
        sign=sign(found),
        release=release,
        before=view.release_named(found.previous),
        rollout=rollout,
        due=next((ring["release"] for ring in list_rings(view) if ring["name"] == found.ring), None),
    )


def sign(device: Device) -> str:
    """The class of the style sheet that a device's state is shown by."""
    return STATES.get(device.state, "failed")


def list_rings(view: BusView) -> list[dict[str, Any]]:
    """Each ring with the rollout and the release that it was given, and how many of its devices run that."""
    catalog = view.catalog()
    rings = []
    for name, ref in sorted(view.refs().items()):
        if not name.startswith("refs/rings/"):
            continue
        ring = name.removeprefix("refs/rings/")
        rollout = catalog.get(ref.target) if catalog else None
        release = next(iter(rollout.inputs.get("release", ())), None) if rollout else None
        members = [device for device in view.fleet() if device.ring == ring]
        on = sum(release is not None and device.release == release.rpartition("/")[2] for device in members)
        rings.append(
            {"name": ring, "rollout": ref.target, "release": release, "record": rollout, "on": on, "of": len(members)}
        )
    return rings


def newest_rollout(view: BusView, release: Record | None, ring: str | None) -> Record | None:
    """The rollout by which a ring got a release; None when there was none."""
    catalog = view.catalog()
    if catalog is None or release is None:
        return None
    found = [catalog.get(each) for each in catalog.children(release.reference)]
    rollouts = [each for each in found if each and each.numbers.get("ring") == ring]
    return max(rollouts, key=lambda each: each.finished, default=None)
