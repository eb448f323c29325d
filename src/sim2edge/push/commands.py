"""`sim2edge ota`: maintain the update repository and its keys.

    sim2edge ota init               keys in SIM2EDGE_KEYS (if missing), the first root, empty metadata
    sim2edge ota refresh [--root]   renew what is past half of its lifetime; the DAG `refresh_fleet` runs it every hour
    sim2edge ota rotate-root [--replace timestamp-1a2b3c4d]...
    sim2edge ota unban canary       devices of the ring that banned its release try it again
    sim2edge ota push-agent FILE --ring canary      devices of the ring update their agent
    sim2edge ota prune --dry-run    what no device needs any more; without --dry-run it is deleted
    sim2edge ota status             versions, expiries, keys, the release of each ring

`init` also writes `root.json` to the key folder: devices are provisioned with it. The yearly renewal of the root, and
what else may happen to keys: docs/fleet-keys.md.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sim2edge import config
from sim2edge.bus import Bus
from sim2edge.enrol.register import assignments, read_register
from sim2edge.errors import BadInput, Forbidden, Unavailable
from sim2edge.lines import join_lines
from sim2edge.progress import emit, print_whole
from sim2edge.push.agents import read_agent
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder, keys_folder
from sim2edge.push.metadata import METADATA, describe
from sim2edge.push.prune import Limits, prune
from sim2edge.push.renewal import days_left
from sim2edge.push.repository import Repository

SECONDS_BETWEEN_TRIES = 2.0
MAX_SAID = 200
MAX_GRACE_HOURS = 87_600
REFRESHED = "refreshed"
"""Event of the JSON line that `refresh` prints for a program, with `renewed` and `roles`."""

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
    if getattr(arguments, "if_any", False) and bus.size(f"{METADATA}/timestamp.json") is None:
        _report("there is no update repository: nothing to renew", (), {})
        return 0
    repository = Repository(bus, KeyFolder(keys_folder()), settings)
    arguments.run(repository, arguments)
    return 0


def add_arguments(verbs: "Verbs") -> None:
    """Add the subcommands."""
    verb = verbs.add_parser("init", help="create keys, the first root and empty metadata")
    verb.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="how long to wait for the bucket")
    verb.set_defaults(run=init)
    verb = verbs.add_parser("refresh", help="renew timestamp, snapshot and targets past half of their lifetimes")
    verb.add_argument("--root", action="store_true", help="and the root, where its keys are in the key folder")
    verb.add_argument("--if-any", action="store_true", help="succeed where there is no update repository")
    verb.set_defaults(run=refresh)
    verb = verbs.add_parser("rotate-root", help="sign a new root, replacing the given keys")
    verb.add_argument("--replace", action="append", default=[], metavar="KEY", help="a key as `status` names it")
    verb.set_defaults(run=rotate_root)
    verb = verbs.add_parser("unban", help="have devices of a ring try its release again that failed on them")
    verb.add_argument("ring")
    verb.set_defaults(run=unban)
    verb = verbs.add_parser("push-agent", help="have the devices of a ring run an agent (`sim2edge device pack`)")
    verb.add_argument("package", type=Path)
    verb.add_argument("--ring", required=True)
    verb.set_defaults(run=push_agent)
    verb = verbs.add_parser("prune", help="delete bundles and metadata that no device needs any more")
    verb.add_argument("--dry-run", action="store_true", help="delete nothing; print what would be deleted")
    verb.add_argument("--keep", type=int, default=5, metavar="N", help="keep the newest N releases (default 5)")
    verb.add_argument(
        "--grace-hours", type=float, default=48.0, help="keep what was current within so many hours (default 48)"
    )
    verb.set_defaults(run=prune_repository)
    verb = verbs.add_parser("status", help="versions, expiries, keys, rings")
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(run=status)


def init(repository: Repository, _: argparse.Namespace) -> None:
    """Create the missing parts: keys, first root, empty metadata. Renew a root that is due, where its keys are."""
    made = repository.create()
    print(f"{'created' if made else 'already exists'}: ota/, root for devices: {keys_folder() / 'root.json'}")
    if version := repository.renew_root():
        print(f"root {version}")


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
    """Renew what is due, and print what was renewed and how long each role lasts; as JSON for a program.

    Raises:
        BadInput: something due could not be renewed, or the root has expired.
    """
    root = repository.renew_root() if arguments.root else None
    renewed = (*repository.refresh(), *(("rings of devices",) if sign_rings(repository) else ()))
    current, now = repository.current(), repository.now()
    due = {role: (expires - repository.lifetimes[role] / 2).isoformat() for role, expires in current.expiries.items()}
    roles = {
        role: {"expires": expires.isoformat(), "due": due[role], "days_left": days_left(expires, now)}
        for role, expires in current.expiries.items()
    }
    _report("renewed" if root or renewed else "nothing is due", (*(("root",) if root else ()), *renewed), roles)


def sign_rings(repository: Repository) -> bool:
    """Sign the ring of each enrolled device, as the register has it; return False if nothing was new.

    Raises:
        BadInput: the register is invalid, or the targets cannot be signed here.
    """
    try:
        records = read_register(repository.bus)
    except Forbidden:  # a policy of before there was a register
        return False
    return repository.assign(assignments(records))


def _report(message: str, renewed: Sequence[str], roles: Mapping[str, Mapping[str, Any]]) -> None:
    if not sys.stdout.isatty():
        emit(REFRESHED, message=" ".join((message, *renewed)), renewed=renewed, roles=roles)
        return
    print(" ".join((message, *renewed)))
    for role, each in roles.items():
        print(f"{role}: until {each['expires']}, {each['days_left']} days")


def rotate_root(repository: Repository, arguments: argparse.Namespace) -> None:
    """Sign a new root and print its version."""
    print(f"root {repository.rotate_root(arguments.replace)}")


def unban(repository: Repository, arguments: argparse.Namespace) -> None:
    """Sign the request for another attempt at the release of a ring, and print its id."""
    print(f"ring {arguments.ring}: release {repository.unban(arguments.ring)} may be tried again")


def push_agent(repository: Repository, arguments: argparse.Namespace) -> None:
    """Publish an agent to a ring."""
    agent = read_agent(arguments.package)
    done = "has" if repository.publish_agent(arguments.ring, agent) else "already has"
    print(f"ring {arguments.ring} {done} agent {agent.version} for {agent.arch}")


def prune_repository(repository: Repository, arguments: argparse.Namespace) -> None:
    """Delete what no device needs any more, and print it.

    Raises:
        BadInput: a number is too small, or metadata cannot be verified.
    """
    if arguments.keep < 1:
        raise BadInput("--keep: has to be at least 1")
    if not 1 <= arguments.grace_hours <= MAX_GRACE_HOURS:
        raise BadInput(f"--grace-hours: has to be 1 to {MAX_GRACE_HOURS}: a device may be in the middle of a download")
    limits = Limits(arguments.keep, timedelta(hours=arguments.grace_hours))
    gone = prune(repository, limits, arguments.dry_run)
    for head in gone:
        print(head.key)
    size_mb = sum(head.size for head in gone) / 1e6
    print(f"{len(gone)} objects, {size_mb:.1f} MB{' would be' if arguments.dry_run else ''} deleted")


def status(repository: Repository, arguments: argparse.Namespace) -> None:
    """Print the state of the repository as a table, or as JSON."""
    current = repository.current()
    rings = repository.rings(current.targets.signed)
    if arguments.json or not sys.stdout.isatty():
        print(json.dumps(describe(current, rings, repository.now())))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("role", "version", "expires", "days left", "keys"):
        table.add_column(column)
    for each in (current.root, current.targets, current.snapshot, current.timestamp):
        role = each.signed.type
        keys = " ".join(f"{role}-{key[:8]}" for key in current.root.signed.roles[role].keyids)
        left = str(days_left(each.signed.expires, repository.now()))
        table.add_row(role, str(each.signed.version), each.signed.expires.isoformat(), left, keys)
    print_whole(table)
    print(f"keys: trusted until the root expires, {days_left(current.root.signed.expires, repository.now())} days")
    for ring, content in sorted(rings.items()):
        print(f"ring {ring}: release {content['release']}")
