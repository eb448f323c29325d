"""Sum up what an artifact took to make: itself and everything it was made from, each once.

    sim2edge cost refs/models/champion [--json]

`cached` is the part that was there already, because an older artifact of the same kind was made from it, too: what the
cache saved when this one was made.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from sim2edge.bus import Bus
from sim2edge.catalog import Catalog, Record
from sim2edge.errors import NotFound
from sim2edge.lineage import find_root
from sim2edge.progress import PATIENCE_S, print_whole
from sim2edge.stages import kinds


@dataclass(frozen=True)
class Total:
    """What some artifacts took to make."""

    artifacts: int
    wall_s: float
    cpu_s: float
    bytes: int
    """Size of their payload."""


def total(records: Iterable[Record]) -> Total:
    """Sum up records. One gathered from shards includes their time, but not their payload."""
    found = list(records)
    whole = [record for record in found if record.shard is None]
    return Total(
        len(whole),
        round(sum(record.wall_s for record in whole), 3),
        round(sum(record.cpu_s for record in whole), 3),
        sum(record.bytes for record in found),
    )


def took(catalog: Catalog, reference: str) -> list[Record]:
    """Return the records of an artifact and of everything it was made from."""
    names = (reference, *catalog.ancestors(reference))
    return [record for name in names if (record := catalog.get(name))]


def find_cached(catalog: Catalog, records: Sequence[Record]) -> list[Record]:
    """Return those of an artifact's records, itself first, that an older artifact of its kind was made from, too."""
    first = records[0]
    pending = [each for each in catalog.records() if each.kind == first.kind and each.finished < first.finished]
    there: set[str] = set()
    while pending:
        new = {name for record in pending for name in record.made_from} - there
        there |= new
        pending = [record for name in new if (record := catalog.get(name))]
    return [record for record in records if record.reference in there]


def show_cost(arguments: argparse.Namespace) -> int:
    """Run `cost`: print a row for each kind, the total, and what was cached.

    Raises:
        NotFound: the catalog does not list the artifact.
    """
    bus = Bus.from_environment(PATIENCE_S)
    root, catalog = find_root(bus, arguments.artifact), Catalog(bus)
    catalog.refresh()
    records = took(catalog, root)
    if not records or records[0].reference != root:
        raise NotFound(f"{root}: the catalog does not list it (sim2edge reindex adds what is missing)")
    found = {kind: total(record for record in records if record.kind == kind) for kind in kinds()}
    rows = {kind: each for kind, each in found.items() if each.artifacts}
    rows |= {"total": total(records), "cached": total(find_cached(catalog, records))}
    if arguments.json:
        print(json.dumps({name: asdict(each) for name, each in rows.items()}, indent=1))
    else:
        print_whole(make_table(rows))
    return 0


def make_table(rows: dict[str, Total]) -> Table:
    """Return the totals as a table."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "artifacts", "wall s", "CPU s", "MB"):
        table.add_column(column, justify="right" if column else "left")
    for name, each in rows.items():
        table.add_row(name, str(each.artifacts), f"{each.wall_s:.1f}", f"{each.cpu_s:.1f}", f"{each.bytes / 1e6:.2f}")
    return table
