"""Withdraw a batch, lift that, or erase its data, by runs of `withdraw_batch` and `erase_batch`."""

from typing import Literal

from sim2edge.affected import Affected as Assessed
from sim2edge.affected import assess
from sim2edge.tombstone import Tombstone
from sim2edge.withdrawal import derived, single_batch_kinds
from sim2edge_airflow.pages.acting import runs
from sim2edge_airflow.pages.acting.action import Action, Affected, Asker, Confirmed, Field, Given, Offer
from sim2edge_airflow.pages.acting.batch_actions import BATCH, YES, any_text
from sim2edge_airflow.pages.acting.permissions import start_runs
from sim2edge_airflow.pages.acting.runs import Wanted
from sim2edge_airflow.pages.bus_view import CHAMPION, BusView

RETRAIN = Field("retrain", "Request a training", any_text, required=False, options=lambda: YES)
KEEP = Field("keep_models", "Keep models and releases", any_text, required=False, options=lambda: YES)


def assess_batch(view: BusView, batch: str) -> Assessed:
    """Return what was made from a batch, by what the pages know now."""
    records, single = view.catalog().records(), single_batch_kinds()
    refs = view.refs()
    withdrawn = {batch, *view.withdrawn()}
    return assess(
        batch,
        records,
        {each.reference for name in withdrawn for each in derived(records, name, single)},
        single=single,
        champion=refs[CHAMPION].target if CHAMPION in refs else None,
        rings={name.rpartition("/")[2]: ref.target for name, ref in refs.items() if name.startswith("refs/rings/")},
        devices=view.fleet(),
    )


def list_affected(found: Assessed) -> list[Affected]:
    """Return what was made from a batch, for its page."""
    rings = [f"{ring.ring}: {ring.release}, could go back to {ring.back_to or 'nothing'}" for ring in found.rings]
    champion = [found.champion.model] if found.champion else []
    devices = [f"{use.device}{f' runs {use.runs}' if use.runs else ''}" for use in found.devices]
    groups = [
        *found.artifacts.items(),
        ("champion", champion),
        ("rings", rings),
        ("devices that have, had or were offered a model of it", devices),
    ]
    return [Affected(heading.capitalize(), names) for heading, names in groups if names]


def withdrawn(asker: Asker, batch: str) -> Tombstone | None:
    """Return the record of a batch that is withdrawn; None if it is not."""
    return asker.view.withdrawn().get(batch)


def back(given: Given) -> str:
    """Return the path of the batch's page."""
    return f"/batches/{given['batch']}" if "batch" in given else "/flywheel"


# Withdraw


def wanted(action: Literal["withdraw", "lift"], given: Given, reason: str = "") -> Wanted:
    """Return the run that withdraws a batch, or lifts that."""
    conf = {"action": action, "reason": reason, "retrain": "retrain" in given}
    return Wanted("withdraw_batch", given["batch"], conf)


def describe_withdraw(asker: Asker, given: Given) -> Offer:
    """Return what withdrawing a batch would do."""
    batch, found = given["batch"], assess_batch(asker.view, given["batch"])
    known, mark = bool(found.records), withdrawn(asker, batch)
    return Offer(
        [
            f"Batch {batch} is marked as withdrawn: nothing new is made from it, and a run that works on it fails.",
            "Open requests for a training on its data are dropped"
            + (", and a training without it is requested." if "retrain" in given else "."),
            "What was made from it, below, stays as it is: a ring keeps its release until it is moved (Devices).",
            "It can be lifted again.",
        ],
        list_affected(found),
        refusal=f"It was {mark.why}" if mark else "" if known else f"Nothing of batch {batch} is known",
        already=runs.going_on(asker, wanted("withdraw", given)),
        commands=[f'sim2edge withdraw {batch} --reason "..."' + (" --retrain" if "retrain" in given else "")],
    )


def withdraw(asker: Asker, given: Given, confirmed: Confirmed) -> str:
    """Start the run that withdraws a batch."""
    return runs.start(asker, wanted("withdraw", given, confirmed.reason), confirmed)


WITHDRAW = Action(
    name="withdraw",
    title="Withdraw",
    fields=(BATCH, RETRAIN),
    permissions=lambda _: [start_runs("withdraw_batch")],
    describe=describe_withdraw,
    perform=withdraw,
    button="Withdraw",
    back=back,
)


# Lift


def describe_lift(asker: Asker, given: Given) -> Offer:
    """Return what lifting would do."""
    batch, mark = given["batch"], withdrawn(asker, given["batch"])
    refusal = f"Batch {batch} is not withdrawn" if mark is None else ""
    if mark and mark.erased:
        refusal = f"It was {mark.why}: that is final"
    return Offer(
        [
            f"Batch {batch} is used again: its frames are in the next dataset, and what was made from it may be used.",
            "A training with it is requested." if "retrain" in given else "No training is requested.",
        ],
        warnings=[f"It was {mark.why}"] if mark and not refusal else [],
        refusal=refusal,
        already=runs.going_on(asker, wanted("lift", given)),
        commands=[f'sim2edge withdraw {batch} --undo --reason "..."' + (" --retrain" if "retrain" in given else "")],
    )


def lift(asker: Asker, given: Given, confirmed: Confirmed) -> str:
    """Start the run that lifts the withdrawal of a batch."""
    return runs.start(asker, wanted("lift", given, confirmed.reason), confirmed)


LIFT = Action(
    name="lift",
    title="Lift the withdrawal",
    fields=(BATCH, RETRAIN),
    permissions=lambda _: [start_runs("withdraw_batch")],
    describe=describe_lift,
    perform=lift,
    button="Lift",
    back=back,
)


# Erase


def wanted_erase(given: Given, reason: str = "") -> Wanted:
    """Return the run that erases a batch."""
    conf = {"confirm": given["batch"], "reason": reason, "keep_models": "keep_models" in given}
    return Wanted("erase_batch", given["batch"], conf)


def describe_erase(asker: Asker, given: Given) -> Offer:
    """Return what erasing would do."""
    batch, found, mark = given["batch"], assess_batch(asker.view, given["batch"]), withdrawn(asker, given["batch"])
    in_use = [] if "keep_models" in given else found.in_use
    refusal = (
        f"In use: {'; '.join(in_use[:3])}. Roll back first and wait for the devices, or keep models" if in_use else ""
    )
    return Offer(
        [
            f"The data of batch {batch} and of everything below are deleted for good, its delivery included.",
            "Models and releases that learned from it are "
            + ("kept." if "keep_models" in given else "deleted, too, with MLflow's copy and what devices download."),
            "Manifests stay, with a proof of what was deleted. The batch stays withdrawn and cannot be made again.",
            "This cannot be taken back.",
        ],
        list_affected(found),
        refusal=refusal if mark else f"Batch {batch} is not withdrawn: withdraw it first",
        already=runs.going_on(asker, wanted_erase(given)),
        to_type=batch,
        commands=[f"sim2edge withdraw {batch} --erase --yes" + (" --keep-models" if "keep_models" in given else "")],
    )


def erase(asker: Asker, given: Given, confirmed: Confirmed) -> str:
    """Start the run that erases a batch."""
    return runs.start(asker, wanted_erase(given, confirmed.reason), confirmed)


ERASE = Action(
    name="erase",
    title="Erase",
    fields=(BATCH, KEEP),
    permissions=lambda _: [start_runs("erase_batch")],
    describe=describe_erase,
    perform=erase,
    button="Erase for good",
    back=back,
)

WITHDRAW_ACTIONS = (WITHDRAW, LIFT, ERASE)
