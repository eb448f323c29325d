"""Free space: delete leftovers of killed runs and refused deliveries, retire what a retention policy no longer keeps.

    sim2edge gc                                     leftovers older than a day
    sim2edge gc --policy dags/retention.yml --dry-run   what the policy would retire, with the bytes of each kind
    sim2edge gc --policy dags/retention.yml             retire it, and delete the leftovers

What a live ref or a device needs stays, whatever the policy says (docs/retention.md).
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.table import Table

from sim2edge.bus import Bus
from sim2edge.inbox_leftovers import sweep_inbox
from sim2edge.progress import print_whole
from sim2edge.retention import Removal, read_policy
from sim2edge.retire import Situation, retire_all, survey
from sim2edge.retrain_commands import user

GRACE_HOURS = 24.0


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge gc ...` and return the exit code.

    Raises:
        BadInput: the policy is invalid.
        Corrupt: a ref names no artifact: something live might be missed.
    """
    arguments = parser().parse_args(argv)
    policy = read_policy(arguments.policy) if arguments.policy else None
    bus, now = Bus.from_environment(), datetime.now(UTC)
    if policy:
        situation = survey(bus, now)
        removals = situation.choose(policy, now)
        print_whole(describe(situation, removals))
        for removal in removals if arguments.list else ():
            print(f"{removal.reference}: {removal.why}")
        if not arguments.dry_run:
            print(f"{retire_all(bus, removals, user(), now)} objects of {len(removals)} artifacts deleted")
    if not arguments.dry_run:
        delete_leftovers(bus, timedelta(hours=arguments.grace_hours))
    return 0


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge gc", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--policy", type=Path, metavar="FILE", help="also retire artifacts by this policy")
    top.add_argument("--dry-run", action="store_true", help="delete nothing; print what the policy would retire")
    top.add_argument("--list", action="store_true", help="name each artifact to retire, with the reason")
    top.add_argument(
        "--grace-hours", type=float, default=GRACE_HOURS, help=f"keep younger leftovers (default {GRACE_HOURS:g})"
    )
    return top


def describe(situation: Situation, removals: Sequence[Removal]) -> Table:
    """Return a table with artifacts and bytes of each kind: all, those that must stay, those to retire."""
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    gone = {removal.reference for removal in removals}
    for record in situation.records:
        groups = ["all", *(["live"] if record.reference in situation.kept else [])]
        for group in [*groups, *(["retire"] if record.reference in gone else [])]:
            for kind in (record.kind, "total"):
                count[f"{kind} {group}"] += 1
                size[f"{kind} {group}"] += record.bytes
    table = Table(box=None, pad_edge=False)
    for column in ("kind", "artifacts", "GB", "must stay", "GB", "to retire", "GB"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind in (*dict.fromkeys(record.kind for record in situation.records), "total"):
        cells = [(str(count[f"{kind} {g}"]), f"{size[f'{kind} {g}'] / 1e9:.3f}") for g in ("all", "live", "retire")]
        table.add_row(kind, *(cell for pair in cells for cell in pair))
    return table


def delete_leftovers(bus: Bus, grace: timedelta) -> None:
    """Delete uncommitted payload, leftover checkpoints and refused deliveries, and print their keys."""
    deleted = [*bus.sweep(grace), *sweep_inbox(bus, grace)]
    for key in deleted:
        print(key)
    print(f"{len(deleted)} objects deleted")
