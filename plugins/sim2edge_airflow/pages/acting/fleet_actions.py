"""Actions on the fleet: move a ring to a release that exists, and what is done by hand to add a device."""

import shlex
from dataclasses import replace

from sim2edge.access import DEVICE
from sim2edge.catalog import Record
from sim2edge.config import load
from sim2edge.errors import BadInput
from sim2edge.manifest import split_reference
from sim2edge.push.config import PushConfig
from sim2edge.withdrawal import derived, single_batch_kinds
from sim2edge_airflow.pages.acting import runs
from sim2edge_airflow.pages.acting.action import Action, Affected, Asker, Confirmed, Field, Given, Offer
from sim2edge_airflow.pages.acting.batch_actions import any_text
from sim2edge_airflow.pages.acting.permissions import start_runs
from sim2edge_airflow.pages.acting.runs import Wanted
from sim2edge_airflow.pages.bus_view import BusView

ROUTE = "/devices"
MAX_NAMED = 20


def check_ring(ring: str) -> str:
    """Return the name of a ring.

    Raises:
        BadInput: it is none.
    """
    return load(PushConfig, "push", None, [f"ring={ring}"]).ring


def check_release(reference: str) -> str:
    """Return the reference of a release.

    Raises:
        BadInput: it is none.
    """
    if split_reference(reference)[0] != "release":
        raise BadInput(f"release: '{reference[:80]}' is not the reference of a release: release/<batch>/<id>")
    return reference


def check_device(name: str) -> str:
    """Return the id of a device.

    Raises:
        BadInput: it is none.
    """
    if not DEVICE.fullmatch(f"device-{name}"):
        raise BadInput(f"device: '{name[:80]}': expected a-z, 0-9 and '-', at most 63")
    return name


RING = Field("ring", "Ring", check_ring, hint="such as canary or stable")
RELEASE = Field("release", "Release", check_release, hint="release/<batch>/<id>")
EXPECTED = Field(
    "expected", "What the ring has", any_text, required=False, hint="its rollout; another one: nothing is done"
)
DEVICE_ID = Field("device", "Device", check_device, hint="its id: a-z, 0-9 and '-'")


# Move a ring


def rollout_of(view: BusView, ring: str) -> str:
    """Return the rollout that a ring has; empty if it has none."""
    found = view.refs().get(f"refs/rings/{ring}")
    return found.target if found else ""


def release_of(view: BusView, rollout: str) -> str:
    """Return the release of a rollout; empty if the catalog does not list it."""
    record = view.catalog().get(rollout) if rollout else None
    return next(iter(record.inputs.get("release", ())), "") if record else ""


def former_releases(view: BusView, ring: str) -> list[Record]:
    """Return the other releases that a ring got, the newest rollout first; none that has a withdrawn batch."""
    catalog, single = view.catalog(), single_batch_kinds()
    records = list(catalog.records())
    unfit = {each.reference for batch in view.withdrawn() for each in derived(records, batch, single)}
    rollouts = [each for each in records if each.kind == "rollout" and each.numbers.get("ring") == ring]
    newest = sorted(rollouts, key=lambda record: record.finished, reverse=True)
    names = dict.fromkeys(release_of(view, each.reference) for each in newest)
    now = release_of(view, rollout_of(view, ring))
    return [found for name in names if name not in (now, *unfit) and (found := catalog.get(name))]


def describe_move(asker: Asker, given: Given) -> Offer:
    """Return what moving a ring to a release would do: its devices, and the steps."""
    view, ring, release = asker.view, given["ring"], given["release"]
    rollout, record = rollout_of(view, ring), view.catalog().get(release)
    now = release_of(view, rollout)
    members = [each.device for each in view.fleet() if each.ring == ring]
    moved = given.get("expected", rollout) != rollout
    return Offer(
        [
            f"{release} is signed into the update repository for ring {ring}, which has {now or 'no release yet'}.",
            "The devices of the ring install it at their next poll and run a trial of it.",
            "A device whose trial fails rolls back to what it had; the others keep the release.",
            "Its model becomes champion: new models are compared with it.",
        ],
        [Affected(f"Devices in ring {ring}", members)] if members else [],
        warnings=[] if members else [f"No device reports from ring {ring}"],
        refusal=(
            f"Ring {ring} has moved to {rollout or 'nothing'} since"
            if moved
            else find_obstacle(view, record) if record else f"The catalog lists no {release}"
        ),
        already=(
            (f"Ring {ring} has this release", ROUTE)
            if now == release
            else runs.going_on(asker, wanted_move(asker, given))
        ),
        commands=[shlex.join(["sim2edge", "push", "--input", f"release={release}", f"ring={ring}"])],
    )


def find_obstacle(view: BusView, release: Record) -> str:
    """Return why `push` would refuse a release: a withdrawn batch in it, or that it was erased; empty: it would not."""
    if view.is_erased(release.reference):
        return "It was erased: push refuses it"
    records, single = list(view.catalog().records()), single_batch_kinds()
    bad = (
        f"It has batch {batch}, {mark.why}: push refuses it"
        for batch, mark in view.withdrawn().items()
        if any(each.reference == release.reference for each in derived(records, batch, single))
    )
    return next(bad, "")


def wanted_move(asker: Asker, given: Given, reason: str = "") -> Wanted:
    """Return the run that moves a ring; it fails if the ring has moved since the page was shown."""
    release, ring = given["release"], given["ring"]
    expected = given.get("expected") or rollout_of(asker.view, ring)
    conf = {"release": release, "ring": ring, "expected": expected, "reason": reason}
    return Wanted("fleet_change", split_reference(release)[1], conf)


def move(asker: Asker, given: Given, confirmed: Confirmed) -> str:
    """Start the run that moves a ring."""
    return runs.start(asker, wanted_move(asker, given, confirmed.reason), confirmed)


MOVE = Action(
    name="move-ring",
    title="Move a ring",
    fields=(RING, RELEASE, EXPECTED),
    permissions=lambda _: [start_runs("fleet_change")],
    describe=describe_move,
    perform=move,
    button="Move the ring",
    back=lambda _: ROUTE,
)


# Withdraw a release


def rings_with(view: BusView, release: str) -> list[tuple[str, Record | None]]:
    """Return the rings that offer a release, each with the release to go back to: the oldest first, as the model of the
    last one that is pushed is champion."""
    names = sorted(name.removeprefix("refs/rings/") for name in view.refs() if name.startswith("refs/rings/"))
    found = [ring for ring in names if release_of(view, rollout_of(view, ring)) == release]
    pairs = [(ring, next(iter(former_releases(view, ring)), None)) for ring in found]
    return sorted(pairs, key=lambda pair: pair[1].finished.timestamp() if pair[1] else 0)


def describe_withdraw(asker: Asker, given: Given) -> Offer:
    """Return what withdrawing a release would do."""
    view, release = asker.view, given["release"]
    rings = rings_with(view, release)
    identity = release.rpartition("/")[2]
    running = [f"{each.device} (ring {each.ring or 'none'})" for each in view.fleet() if each.release == identity]
    stuck = [ring for ring, former in rings if former is None]
    return Offer(
        [
            *(f"Ring {ring} goes back to {former.reference}." for ring, former in rings if former),
            "The devices of these rings install what they had at their next poll, and run a trial of it.",
            "The release stays on S3. To keep it from being given to a ring again, withdraw its bad batch.",
        ],
        [Affected("Devices that run it", running)] if running else [],
        refusal=(
            f"Ring {stuck[0]} has had no other release that is fit: it keeps this one until it gets another"
            if stuck
            else ""
        ),
        already=None if rings else ("No ring offers it", ROUTE),
        commands=[
            shlex.join(["sim2edge", "push", "--input", f"release={former.reference}", f"ring={ring}"])
            for ring, former in rings
            if former
        ],
    )


def withdraw(asker: Asker, given: Given, confirmed: Confirmed) -> str:
    """Start a run for each ring that offers the release."""
    for ring, former in rings_with(asker.view, given["release"]):
        assert former  # noqa: S101 (`describe_withdraw` refuses otherwise)
        wanted = wanted_move(asker, {"ring": ring, "release": former.reference}, confirmed.reason)
        runs.start(asker, wanted, replace(confirmed, nonce=f"{confirmed.nonce}_{ring}"))
    return ROUTE


WITHDRAW_RELEASE = Action(
    name="withdraw-release",
    title="Withdraw a release",
    fields=(RELEASE,),
    permissions=lambda _: [start_runs("fleet_change")],
    describe=describe_withdraw,
    perform=withdraw,
    button="Withdraw",
    back=lambda given: f"/artifacts/{given['release']}" if "release" in given else ROUTE,
)


# Add a device


def describe_device(asker: Asker, given: Given) -> Offer:
    """Return how a device is added: its keys are made where the role files are, and shown on no page."""
    view, device, ring = asker.view, given["device"], given["ring"]
    known = next((each for each in view.fleet() if each.device == device), None)
    release = release_of(view, rollout_of(view, ring))
    return Offer(
        [
            "On the host that keeps the role files, with the admin's keys: the first command makes its record, "
            f"its own S3 keys and key pair, and writes {device}.enrolment. The S3 keys can read updates and write the "
            "device's own status, and nothing else.",
            "Copy that file to the device, and delete it; no page shows or sends it.",
            f"On the device: the second command runs it in ring {ring}, which has {release or 'no release yet'}.",
            "It appears on the page Devices with its first report, within a minute.",
        ],
        warnings=[f"A device of this name reports already, in ring {known.ring or 'none'}"] if known else [],
        commands=[
            f"sim2edge device enrol --id {device} --ring {ring}",
            f"sim2edge device run --home /data --enrolment {device}.enrolment --source 0",
        ],
    )


ADD_DEVICE = Action(
    name="add-device",
    title="Add a device",
    fields=(DEVICE_ID, RING),
    permissions=lambda _: [],
    describe=describe_device,
    perform=None,
    back=lambda _: ROUTE,
)

FLEET_ACTIONS = (MOVE, WITHDRAW_RELEASE, ADD_DEVICE)
