"""`sim2edge ota`: look after the update repository and its keys.

    sim2edge ota init                   keys in SIM2EDGE_KEYS (if missing), the first root, empty metadata
    sim2edge ota refresh [--targets]    sign timestamp (and snapshot) again: a scheduled job, at least twice a day
    sim2edge ota refresh --every 21600  the same for ever, every so many seconds: a service
    sim2edge ota rotate-root [--replace timestamp-1a2b3c4d]...
    sim2edge ota status                 versions, expiries, keys, which ring has which release

`init` writes `root.json` beside the keys: devices are provisioned with it.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from sim2edge import config
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Conflict, Unavailable
from sim2edge.lines import join_lines
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder, keys_folder
from sim2edge.push.metadata import METADATA, describe
from sim2edge.push.repository import Repository
from sim2edge.terminal import print_whole

SECONDS_BETWEEN_TRIES = 2.0
SECONDS_AFTER_FAILURE = 60.0
MAX_SAID = 200

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge ota ...`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="sim2edge ota", description="Look after the update repository.")
    parser.add_argument("--preset", default=os.environ.get("SIM2EDGE_PRESET"), help="a file of conf/, without .yaml")
    add_arguments(parser.add_subparsers(required=True, metavar="command"))
    arguments = parser.parse_args(argv)
    settings = config.load(PushConfig, "push", arguments.preset)
    bus = Bus.from_environment()
    if getattr(arguments, "wait", 0):
        wait_for_bucket(bus, arguments.wait)
    repository = Repository(bus, KeyFolder(keys_folder()), settings)
    arguments.run(repository, arguments)
    return 0


def add_arguments(verbs: "Verbs") -> None:
    """One subcommand a verb."""
    verb = verbs.add_parser("init", help="make keys, the first root and empty metadata")
    verb.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="how long to wait for the bucket")
    verb.set_defaults(run=init)
    verb = verbs.add_parser("refresh", help="sign the timestamp again, and the snapshot when half its life is over")
    verb.add_argument("--targets", action="store_true", help="sign the targets again, too")
    verb.add_argument("--every", type=float, metavar="SECONDS", help="go on, and sign again after so many seconds")
    verb.set_defaults(run=refresh)
    verb = verbs.add_parser("rotate-root", help="sign a new root, with new keys where asked")
    verb.add_argument("--replace", action="append", default=[], metavar="KEY", help="a key as `status` names it")
    verb.set_defaults(run=rotate_root)
    verb = verbs.add_parser("status", help="versions, expiries, keys, rings")
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(run=status)


def init(repository: Repository, _: argparse.Namespace) -> None:
    """`init`: make what is missing."""
    made = repository.create()
    print(f"{'made' if made else 'already there'}: ota/, root for devices: {keys_folder() / 'root.json'}")


def wait_for_bucket(bus: Bus, seconds: float) -> None:
    """Wait until the bucket is there and opens to our keys; says what it is waiting for.

    Raises:
        BadInput, Unavailable: it did not within that time; as the last try ended.
    """
    end, said = time.monotonic() + seconds, ""
    while True:
        try:
            next(iter(bus.list(METADATA)), None)
            return
        except (BadInput, Unavailable) as error:
            if time.monotonic() > end:
                raise
            line = join_lines(error, MAX_SAID)
            if line != said:
                print(f"waiting for the bucket: {line}", flush=True)
            said = line
            time.sleep(SECONDS_BETWEEN_TRIES)


def refresh(repository: Repository, arguments: argparse.Namespace) -> None:
    """`refresh`: sign again; with `--every`, again and again, and soon again after a failure."""
    while True:
        try:
            repository.refresh(arguments.targets)
            expires = repository.current().timestamp.signed.expires.isoformat()
            print(f"timestamp valid until {expires}", flush=True)
            pause_s = arguments.every
        except (Unavailable, Conflict) as error:
            if not arguments.every:
                raise
            print(f"not signed, tried again soon: {' '.join(str(error).split())}", flush=True)
            pause_s = min(arguments.every, SECONDS_AFTER_FAILURE)
        if not pause_s:
            return
        time.sleep(pause_s)


def rotate_root(repository: Repository, arguments: argparse.Namespace) -> None:
    """`rotate-root`: a new root."""
    print(f"root {repository.rotate_root(arguments.replace)}")


def status(repository: Repository, arguments: argparse.Namespace) -> None:
    """`status`: the repository as a table, or as JSON."""
    current = repository.current()
    rings = repository.rings(current.targets.signed)
    if arguments.json or not sys.stdout.isatty():
        print(json.dumps(describe(current, rings)))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("role", "version", "expires", "keys"):
        table.add_column(column)
    for each in (current.root, current.targets, current.snapshot, current.timestamp):
        role = each.signed.type
        keys = " ".join(f"{role}-{key[:8]}" for key in current.root.signed.roles[role].keyids)
        table.add_row(role, str(each.signed.version), each.signed.expires.isoformat(), keys)
    print_whole(table)
    for ring, content in sorted(rings.items()):
        print(f"ring {ring}: release {content['release']}")
