"""`sim2edge ota`: maintain the update repository and its keys.

    sim2edge ota init                   keys in SIM2EDGE_KEYS (if missing), the first root, empty metadata
    sim2edge ota refresh [--targets]    re-sign the timestamp (and snapshot): a scheduled job, at least twice a day
    sim2edge ota refresh --every 21600  the same in an endless loop, every so many seconds: a service
    sim2edge ota rotate-root [--replace timestamp-1a2b3c4d]...
    sim2edge ota status                 versions, expiries, keys, the release of each ring

`init` also writes `root.json` to the key folder: devices are provisioned with it.
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
from sim2edge.progress import print_whole
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder, keys_folder
from sim2edge.push.metadata import METADATA, describe
from sim2edge.push.repository import Repository

SECONDS_BETWEEN_TRIES = 2.0
SECONDS_AFTER_FAILURE = 60.0
MAX_SAID = 200

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge ota ...` and return the exit code."""
    parser = argparse.ArgumentParser(prog="sim2edge ota", description="Maintain the update repository.")
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
    """Add the subcommands."""
    verb = verbs.add_parser("init", help="create keys, the first root and empty metadata")
    verb.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="how long to wait for the bucket")
    verb.set_defaults(run=init)
    verb = verbs.add_parser("refresh", help="re-sign the timestamp, and the snapshot past half its lifetime")
    verb.add_argument("--targets", action="store_true", help="re-sign the targets as well")
    verb.add_argument("--every", type=float, metavar="SECONDS", help="keep running, and re-sign every so many seconds")
    verb.set_defaults(run=refresh)
    verb = verbs.add_parser("rotate-root", help="sign a new root, replacing the given keys")
    verb.add_argument("--replace", action="append", default=[], metavar="KEY", help="a key as `status` names it")
    verb.set_defaults(run=rotate_root)
    verb = verbs.add_parser("status", help="versions, expiries, keys, rings")
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(run=status)


def init(repository: Repository, _: argparse.Namespace) -> None:
    """Create the missing parts: keys, first root, empty metadata."""
    made = repository.create()
    print(f"{'created' if made else 'already exists'}: ota/, root for devices: {keys_folder() / 'root.json'}")


def wait_for_bucket(bus: Bus, seconds: float) -> None:
    """Wait until the bucket exists and accepts our credentials; print each new reason for waiting.

    Raises:
        BadInput, Unavailable: the error of the last try, once `seconds` have passed.
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
    """Re-sign the metadata; with `--every` repeatedly, and sooner after a failure."""
    while True:
        try:
            repository.refresh(arguments.targets)
            expires = repository.current().timestamp.signed.expires.isoformat()
            print(f"timestamp valid until {expires}", flush=True)
            pause_s = arguments.every
        except (Unavailable, Conflict) as error:
            if not arguments.every:
                raise
            print(f"not signed, will retry soon: {' '.join(str(error).split())}", flush=True)
            pause_s = min(arguments.every, SECONDS_AFTER_FAILURE)
        if not pause_s:
            return
        time.sleep(pause_s)


def rotate_root(repository: Repository, arguments: argparse.Namespace) -> None:
    """Sign a new root and print its version."""
    print(f"root {repository.rotate_root(arguments.replace)}")


def status(repository: Repository, arguments: argparse.Namespace) -> None:
    """Print the state of the repository as a table, or as JSON."""
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
