"""Withdraw a batch (bad labels, a broken sensor, a person's wish), lift that again, or erase its data.

    sim2edge withdraw farm-7 --dry-run                                 list what derives from it, change nothing
    sim2edge withdraw farm-7 --reason "labels are shifted"             nothing new is made from it; list the same
    sim2edge withdraw farm-7 --retrain --roll-back                     request a training without it; roll rings back
    sim2edge withdraw farm-7 --erase --yes                             delete its data for good, and keep a proof
    sim2edge withdraw farm-7 --undo --reason "labels are fine"         lift it

It needs the admin's keys; with --roll-back the signing keys, too. Every form may be repeated: it continues where the
last one ended. docs/withdraw.md explains what each does.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec

from pydantic import ValidationError

from sim2edge import retrain
from sim2edge.affected import Affected, Use, assess
from sim2edge.bus import Bus
from sim2edge.catalog import Catalog, reindex
from sim2edge.erasure import erase_all, find_targets
from sim2edge.errors import BadInput, NotFound
from sim2edge.fleet import list_devices, read_fleet
from sim2edge.lines import first_problem
from sim2edge.manifest import check_partition, parse_entry
from sim2edge.progress import make_progress
from sim2edge.registry import CHAMPION_REF, set_alias
from sim2edge.retrain_commands import user
from sim2edge.stages import kinds
from sim2edge.tombstone import Event, Tombstone
from sim2edge.withdrawal import Withdrawn, derived, now, read_tombstone, record, single_batch_kinds

MAX_REASON = 300


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge withdraw` and return the exit code."""
    arguments = read_arguments(argv)
    report = act(Bus.from_environment(), arguments)
    print(json.dumps(report.to_json(), indent=1) if arguments.json else "\n".join(report.lines()))
    return 0


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        BadInput: the batch's name is invalid, or options contradict each other.
    """
    arguments = parser().parse_args(argv)
    check_partition(arguments.batch)
    check_options(arguments)
    return arguments


def act(bus: Bus, arguments: argparse.Namespace) -> "Report":
    """Do what the command line says; see `lift` and `withdraw`."""
    return lift(bus, arguments) if arguments.undo else withdraw(bus, arguments)


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge withdraw", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("batch", help="the batch id")
    top.add_argument("--reason", help="one sentence; may be left out for a batch that is withdrawn already")
    top.add_argument("--by", help="who decides it (default: the user)")
    for option, what in (
        ("undo", "lift it; what was erased stays erased"),
        ("dry-run", "list what derives from the batch, change nothing"),
        ("json", "print JSON"),
        ("retrain", "request a training without the batch, or, with --undo, with it again"),
        ("roll-back", "move champion and rings back to the newest earlier ones without a withdrawn batch"),
        ("erase", "delete the data of the batch and of everything that derives from it"),
        ("keep-models", "with --erase: keep models and releases"),
        ("yes", "confirm --erase"),
        ("force", "with --erase: even if a ring, a device or the champion uses a model of the batch"),
    ):
        top.add_argument(f"--{option}", action="store_true", help=what)
    return top


def check_options(arguments: argparse.Namespace) -> None:
    """Check that the options go together.

    Raises:
        BadInput: one contradicts another, or has no effect without another.
    """
    for option in ("erase", "roll_back", "dry_run"):
        if arguments.undo and getattr(arguments, option):
            raise BadInput(f"--undo: not together with --{option.replace('_', '-')}")
    for option in ("keep_models", "yes", "force"):
        if getattr(arguments, option) and not arguments.erase:
            raise BadInput(f"--{option.replace('_', '-')}: only together with --erase")


@dataclass
class Report:
    """The result of a run."""

    affected: Affected
    tombstone: Tombstone | None
    requests: Sequence[str] = ()
    """Open requests for a training on the batch's data: dropped, unless this is a dry run."""
    done: list[str] = field(default_factory=list)
    """A line for each change that was made."""
    offers: list[str] = field(default_factory=list)
    """Commands that could follow."""

    def to_json(self) -> dict[str, object]:
        """Return it for programs."""
        history = [event.model_dump(mode="json") for event in self.tombstone.events] if self.tombstone else []
        withdrawn = self.tombstone is not None and self.tombstone.withdrawn
        more = {"requests": list(self.requests), "done": self.done, "commands": self.offers}
        return {**self.affected.to_json(), "withdrawn": withdrawn, "history": history, **more}

    def lines(self) -> list[str]:
        """Return it for people."""
        found, batch = self.affected, self.affected.batch
        state = f"was {self.tombstone.why}" if self.tombstone and self.tombstone.withdrawn else "is not withdrawn"
        lines = [f"batch '{batch}' {state}"]
        for kind, names in found.artifacts.items():
            lines += [f"{kind} ({len(names)})", *(f"  {name}" for name in names)]
        if found.champion:
            lines.append(f"champion: {found.champion.model}{_back(found.champion.back_to, 'model')}")
        lines += [f"ring {ring.ring}: {ring.release}{_back(ring.back_to, 'release')}" for ring in found.rings]
        lines += [_say_use(use) for use in found.devices]
        lines += [f"request for its data: {request}" for request in self.requests]
        return [*lines, *self.done, *(["possible next:"] if self.offers else []), *(f"  {c}" for c in self.offers)]


def _back(to: str | None, what: str) -> str:
    return f", could go back to {to}" if to else f", there is no earlier {what} without a withdrawn batch"


def _say_use(use: Use) -> str:
    named = {"runs": use.runs, "has in its other slot": use.previous, "failed": use.failed}
    words = [f"{verb} {release}" for verb, release in named.items() if release]
    words += [f"was offered {', '.join(use.offered)}"] if use.offered else []
    return f"device {use.device}: {'; '.join(words)}"


def make_event(action: str, arguments: argparse.Namespace, found: Tombstone | None) -> Event:
    """Return the decision that the command line describes; without a reason, the one that the batch has.

    Raises:
        BadInput: the reason is missing, or a field is invalid.
    """
    reason = arguments.reason or (found.last.reason if found and action != "lift" and found.withdrawn else None)
    if not reason:
        raise BadInput("--reason is missing: one sentence, for everyone who meets the batch later")
    try:
        return Event.model_validate({"action": action, "reason": reason, "by": arguments.by or user(), "at": now()})
    except ValidationError as error:
        raise BadInput(f"--{first_problem(error)}") from error


def lift(bus: Bus, arguments: argparse.Namespace) -> Report:
    """Run `--undo`.

    Raises:
        BadInput: the batch is not withdrawn, or was erased.
    """
    found = read_tombstone(bus, arguments.batch)
    event = make_event("lift", arguments, found[0] if found else None)
    report = Report(look(bus, Catalog(bus), arguments.batch), record(bus, arguments.batch, event))
    report.done.append(f"lifted by {event.by}: {event.reason}")
    offer_training(bus, report, event, arguments.retrain)
    return report


def withdraw(bus: Bus, arguments: argparse.Namespace) -> Report:
    """Withdraw the batch, then do what the options name.

    Raises:
        BadInput: nothing of the batch is known, or `--erase` is not confirmed, or its models are in use.
    """
    batch, catalog = arguments.batch, Catalog(bus)
    found = read_tombstone(bus, batch)
    affected, tombstone = look(bus, catalog, batch), found[0] if found else None
    if not found and not affected.records and not bus.first_page(f"inbox/{batch}", 1):
        raise NotFound(f"batch '{batch}': nothing of it is on the bus")
    if arguments.dry_run:
        report = Report(affected, tombstone, find_requests(bus, batch))
        report.done += [_measure(bus, affected, arguments.keep_models)] if arguments.erase else []
        return report
    event = make_event("withdraw", arguments, tombstone)
    if arguments.erase and not arguments.yes:
        raise BadInput(f"--erase deletes the data of {len(affected.records)} artifacts for good: confirm with --yes")
    if arguments.erase and not arguments.roll_back:  # otherwise it has to be withdrawn to be rolled back
        check_kinds(bus, arguments.force)
        check_unused(affected, arguments)
    tombstone = record(bus, batch, event)
    report = Report(look(bus, catalog, batch), tombstone, find_requests(bus, batch))  # after it: see `withdrawal`
    bus.delete(retrain.open_requests(bus, now()).dropped)
    report.done.append(f"withdrawn: {tombstone.last.reason}")
    since = next(each for each in reversed(tombstone.events) if each.action == "withdraw")
    offer_training(bus, report, since, arguments.retrain)
    roll_back(bus, report, arguments.roll_back)
    if arguments.erase:
        erase(bus, report, arguments)
    else:
        report.offers.append(f"sim2edge withdraw {batch} --erase --yes")
    return report


def _measure(bus: Bus, affected: Affected, keep_models: bool) -> str:
    targets = find_targets(bus, affected.batch, affected.records, keep_models=keep_models)
    keys = [key for target in targets for key in target.keys]
    return f"would erase {len(keys)} objects of {len([target for target in targets if target.keys])} artifacts"


def look(bus: Bus, catalog: Catalog, batch: str) -> Affected:
    """Return what derives from a batch now."""
    catalog.refresh()
    records, single = catalog.records(), single_batch_kinds()
    batches = {batch, *Withdrawn(bus).batches}
    unfit = {each.reference for name in batches for each in derived(records, name, single)}
    champion = bus.read_ref(CHAMPION_REF)
    return assess(
        batch,
        records,
        unfit,
        single=single,
        champion=champion.target if champion else None,
        rings={ref.name.rpartition("/")[2]: ref.target for ref in bus.list_refs("refs/rings")},
        devices=read_fleet(bus, list_devices(bus)),
    )


def find_requests(bus: Bus, batch: str) -> list[str]:
    """Return a line for each open request for a training on the batch's data."""
    found = retrain.open_requests(bus, now())
    waiting = [f"{each.id} ({each.reason})" for each in found.requests if each.kind == "data" and each.batch == batch]
    return [*waiting, *(line for line in found.dropped.values() if f"batch '{batch}'" in line)]


def offer_training(bus: Bus, report: Report, event: Event, do: bool) -> None:
    """Submit a request for a training without the batch, or with it again; or offer the command."""
    batch, back = report.affected.batch, event.action == "lift"
    reason = f"batch {batch} {'is back' if back else 'was withdrawn'}: {event.reason}"[:MAX_REASON].strip()
    evidence = {"batch": batch, "action": event.action, "at": event.at.isoformat(timespec="seconds")}
    if not do:
        words = ["--reason", reason, *(word for pair in evidence.items() for word in ("--evidence", "=".join(pair)))]
        report.offers.append(shlex.join(["sim2edge", "retrain", *words]))
        return
    request = retrain.make_request("manual", reason, evidence, by=event.by)
    fulfilled = retrain.submit(bus, request)
    report.done.append(
        f"request {request.id} " + (f"was fulfilled by training {fulfilled}" if fulfilled else "is open")
    )


def roll_back(bus: Bus, report: Report, do: bool) -> None:
    """Move the champion and each ring back, or offer the commands; name those that cannot go back."""
    found = report.affected
    if not do:
        report.offers += [ring.command for ring in found.rings if ring.command]
        report.offers += [f"sim2edge withdraw {found.batch} --roll-back"] if found.champion or found.rings else []
        return
    for ring in found.rings:
        if ring.back_to:
            push(ring.back_to, ring.ring)  # which makes its model champion
            report.done.append(f"ring {ring.ring}: back to {ring.back_to}")
    if found.champion and found.champion.back_to:
        now = move_champion(bus, found.champion.model, found.champion.back_to)
        report.done.append(f"champion: {now}")


def move_champion(bus: Bus, current: str, back_to: str) -> str:
    """Move the champion back, unless it has changed meanwhile, as by a ring that went back; return the champion."""
    ref = bus.read_ref(CHAMPION_REF)
    if ref and ref.target != current:
        return ref.target
    bus.move_ref(CHAMPION_REF, back_to, expected=ref)
    if find_spec("mlflow"):
        with redirect_stdout(sys.stderr), make_progress("withdraw") as progress:
            set_alias(back_to, "champion", progress)
    return back_to


def push(release: str, ring: str) -> None:
    """Publish a release to a ring, as `sim2edge push` does; what it prints goes to standard error."""
    from sim2edge.cli import run_stage

    with redirect_stdout(sys.stderr):
        run_stage("push", ["--input", f"release={release}", f"ring={ring}"])


def erase(bus: Bus, report: Report, arguments: argparse.Namespace) -> None:
    """Erase the batch's data and what derives from it.

    Raises:
        BadInput: see `check_kinds`; or a model of the batch is in use, without `--force` or `--keep-models`.
    """
    batch = arguments.batch
    check_kinds(bus, arguments.force)
    reindex(bus)  # a run that was killed after its commit is not in the catalog
    affected = look(bus, Catalog(bus), batch)
    check_unused(affected, arguments)
    found = read_tombstone(bus, batch)
    event = make_event("erase", arguments, found[0] if found else None)
    report.tombstone = record(bus, batch, event)
    targets = find_targets(bus, batch, affected.records, keep_models=arguments.keep_models)
    count = erase_all(bus, batch, targets, report.tombstone.last)
    report.done.append(f"erased: {count} objects of {len([target for target in targets if target.keys])} artifacts")


def check_unused(affected: Affected, arguments: argparse.Namespace) -> None:
    """Check that nothing uses a model that would be erased.

    Raises:
        BadInput: a ring, a device or the champion does, without `--force` or `--keep-models`.
    """
    if affected.in_use and not (arguments.force or arguments.keep_models):
        first, others = affected.in_use[0], len(affected.in_use) - 1
        more = f" and {others} more" if others else ""
        raise BadInput(f"--erase: {first}{more}: --roll-back first and wait for the devices, --keep-models, or --force")


def check_kinds(bus: Bus, force: bool) -> None:
    """Check that a stage is installed here for every kind in the catalog: of others it is not known what derives.

    Raises:
        BadInput: one is missing, and `--force` is not given.
    """
    references = (parse_entry(key) for key in bus.list("catalog"))
    unknown = sorted({reference.partition("/")[0] for reference in references if reference} - set(kinds()))
    if unknown and not force:
        raise BadInput(
            f"--erase: no stage installed here makes {', '.join(unknown)}, so what derives from the batch is not "
            "known: install the package, or leave those artifacts with --force"
        )
