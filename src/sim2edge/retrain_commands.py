"""Submit a request for a training, by hand or from another program, or list requests and trainings.

    sim2edge retrain --reason "new labels of hall 3"
    sim2edge retrain --kind drift --reason "brightness is off" --evidence device=pi-7 --evidence day=2026-05-04
    sim2edge retrain --list

Evidence identifies a request: the same evidence is the same request, and is fulfilled once. A request of kind manual
without evidence gets the current time, in seconds.
"""

import argparse
import getpass
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

from rich.table import Table
from rich.text import Text

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.progress import print_whole
from sim2edge.retrain import (
    Kind,
    Request,
    check_tunable,
    find_training,
    fingerprint,
    make_request,
    open_requests,
    submit,
    training_ids,
)

SHOWN = 10
"""Trainings that are listed."""


def main(argv: Sequence[str]) -> int:
    """Submit a request, or list; return the exit code."""
    arguments = parser().parse_args(argv)
    bus = Bus.from_environment()
    if arguments.list:
        return list_requests(bus)
    if not arguments.reason:
        raise BadInput("--reason is missing: one sentence, why to train again")
    return put_request(bus, request_of(arguments, datetime.now(UTC)))


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge retrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = [kind for kind in get_args(Kind) if kind != "data"]
    top.add_argument("--kind", choices=kinds, default="manual", help="kind of request (default manual)")
    top.add_argument("--reason", help="one sentence, shown on the run")
    top.add_argument("--evidence", action="append", default=[], metavar="KEY=VALUE", help="what was observed")
    top.add_argument("--by", help="who submits it (default: the user)")
    top.add_argument("--preset", help="a file of conf/, without .yaml")
    top.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="override a stage's config")
    top.add_argument("--now", action="store_true", help="skip the cool-down; of kind manual only")
    top.add_argument("--list", action="store_true", help="list open requests and the last trainings")
    return top


def request_of(arguments: argparse.Namespace, now: datetime) -> Request:
    """Return the request that the command line describes.

    Raises:
        BadInput: a word or a field is invalid.
    """
    evidence = parse_evidence(arguments.evidence)
    if arguments.kind == "manual" and not evidence:
        evidence = {"asked": now.isoformat(timespec="seconds")}
    return make_request(
        arguments.kind,
        arguments.reason,
        evidence,
        by=arguments.by or user(),
        preset=arguments.preset,
        overrides=arguments.set,
        submitted=now,
        now=arguments.now,
    )


def parse_evidence(words: Sequence[str]) -> dict[str, str]:
    """Parse `key=value` words.

    Raises:
        BadInput: a word has no `=`, or a key is repeated.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals or key in found:
            raise BadInput(f"--evidence '{word}': expected key=value, each key once")
        found[key] = value
    return found


def user() -> str:
    """Return the name of the user who runs this command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in a container
        return "command line"


def put_request(bus: Bus, request: Request) -> int:
    """Submit a request and print its state.

    Raises:
        BadInput: its settings are not valid for a training.
    """
    check_tunable(request.overrides)
    fingerprint(request.preset, request.overrides)
    fulfilled = submit(bus, request)
    said = f"was fulfilled by training {fulfilled}: submit other evidence for a new one" if fulfilled else "is open"
    print(f"request {request.id} {said}")
    return 0


def list_requests(bus: Bus) -> int:
    """Run `--list`: print two tables, and a line for each object that is not a valid request."""
    found = open_requests(bus, datetime.now(UTC))
    columns = ("open request", "kind", "submitted", "by", "reason")
    print_whole(_table(columns, [_request_row(request) for request in found.requests]))
    trainings = [find_training(bus, training) for training in training_ids(bus)[-SHOWN:]]
    rows = [(t.id, t.batch, "\n".join(t.reasons)) for t in trainings if t]
    print_whole(_table(("training", "batch", "reasons"), rows))
    for problem in found.bad:
        print(f"invalid request: {problem}")
    for line in found.dropped.values():
        print(f"dropped: {line}")
    return 0


def _request_row(request: Request) -> tuple[str, ...]:
    return request.id, request.kind, f"{request.submitted:%Y-%m-%d %H:%M:%S}", request.by, request.reason


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
