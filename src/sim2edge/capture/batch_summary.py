"""`sim2edge summarize [batch]`: print statistics on the episodes of a batch, from its table and its manifest.

    sim2edge summarize              # the newest batch
    sim2edge summarize demo-1       # by name; also while only some of its shards exist
    sim2edge summarize 3f2a9c0d11e4b7a6

It downloads no episode.
"""

import argparse
import csv
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.manifest import Manifest
from sim2edge.recipes.perception import CLASSES, FLOORS

Row = Mapping[str, str]
TABLE = "aggregated_results.csv"
RUG = "rug"
"""The floor that is never a room's own: it is placed on another."""

METRICS = (
    ("path", "path_length_m", "m"),
    ("duration", "duration_s", "s"),
    ("min. clearance", "min_clearance_m", "m"),
    ("near misses", "near_misses", ""),
    ("checkpoints passed", "checkpoints_passed", ""),
    ("time to collision", "time_to_collision_s", "s"),
    ("distance to collision", "distance_to_collision_m", "m"),
)
"""Title, column and unit of each metric; means are over the episodes that have a value."""


@dataclass(frozen=True)
class Batch:
    """The episodes of a batch: those of one artifact, or of the existing shards."""

    name: str
    manifests: Sequence[Manifest]
    rows: Sequence[Row]

    def total(self, name: str) -> Counter[str]:
        """Return the sum over the artifacts of the counts `name` in their summaries."""
        return sum((Counter(manifest.summary.get(name, {})) for manifest in self.manifests), Counter[str]())


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="sim2edge summarize", description="statistics on the episodes of a batch")
    parser.add_argument("batch", nargs="?", help="a batch, or a reference, ref or id of episodes; default: the newest")
    arguments = parser.parse_args(argv)
    batch = read_batch(Bus.from_environment(), arguments.batch)
    print_batch(Console(highlight=False), batch)
    return 0


def read_batch(bus: Bus, name: str | None) -> Batch:
    """Find a batch and read its table.

    Raises:
        BadInput: no batch exists, or `name` is not a batch.
    """
    manifests = [newest(bus)] if name is None else find(bus, name)
    wrong = [manifest.reference for manifest in manifests if manifest.kind != "episodes"]
    if wrong:
        raise BadInput(f"{wrong[0]}: not a batch of episodes")
    rows = [row for manifest in manifests for row in read_rows(bus, manifest)]
    return Batch(manifests[0].partition, manifests, sorted(rows, key=lambda row: row["episode_id"]))


def newest(bus: Bus) -> Manifest:
    """Return the batch that was committed last."""
    batches = [bus.open(ref.target) for ref in bus.list_refs("refs/batches")]
    if not batches:
        raise BadInput("no batch is on the bus yet: sim2edge capture --partition NAME")
    return max(batches, key=lambda manifest: manifest.finished)


def find(bus: Bus, name: str) -> Sequence[Manifest]:
    """Return the artifact that a name denotes, or the shards of a batch that is not gathered yet."""
    ref = None if "/" in name else bus.read_ref(f"refs/batches/{name}")
    if ref:
        return [bus.open(ref.target)]
    shards = [] if "/" in name else [each for each in bus.manifests("episodes", name) if each.shard]
    if shards:
        # Of several configs or numbers of shards, only those of the newest shard.
        return [each for each in shards if _cut(each) == _cut(shards[-1])]
    try:
        return [bus.open(bus.resolve(name))]
    except BadInput as error:
        raise BadInput(f"{name}: no such batch; see sim2edge ls refs") from error


def _cut(shard: Manifest) -> tuple[str, str]:
    return shard.config_hash, str(shard.shard).partition("/")[2]


def read_rows(bus: Bus, manifest: Manifest) -> Sequence[Row]:
    """Return the rows of an artifact's table."""
    with tempfile.TemporaryDirectory(prefix="sim2edge-") as scratch:
        path = bus.fetch(manifest, Path(scratch), [TABLE]).path(TABLE)
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def print_batch(console: Console, batch: Batch) -> None:
    """Print all statistics of a batch that need no episodes."""
    rows = batch.rows
    console.print(f"[bold]{batch.name}[/]  {_where(batch.manifests)}", soft_wrap=True)
    frames = sum(int(row["frames"]) for row in rows)
    failed = _list(Counter(row["failure_reason"] for row in rows if row["failure_reason"]))
    touched = _list(Counter(word for row in rows for word in row.get("collided_with", "").split(";") if word))
    console.print(f"{len(rows)} episodes, {_percent(_successes(rows), len(rows))} successful, {frames} frames")
    console.print(f"failed: {failed or 'none'}" + (f"  (touched: {touched})" if touched else ""))
    console.print(Padding(_metrics(rows), (1, 0)))
    console.print(_balance(batch))
    console.print()
    console.print(f"rooms rejected before the drive: {_list(batch.total('rooms_rejected')) or 'none'}")
    console.print(_checks(batch.total("checks")))


def _balance(batch: Batch) -> Table:
    """Return the tables side by side: classes, then floors above drivers, then layouts."""
    boxes, floors = batch.total("boxes"), [name for name in FLOORS if name != RUG]
    classes = _shares("class", "boxes", {name: boxes[name] for name in CLASSES})
    middle = Group(_groups("floor", batch.rows, floors), "", _groups("driver", batch.rows, ()))
    grid = Table.grid(padding=(0, 4, 0, 0))
    grid.add_row(classes, middle, _groups("layout", batch.rows, ()))
    return grid


def _where(manifests: Sequence[Manifest]) -> str:
    last = max(manifests, key=lambda manifest: manifest.finished)
    made = f"made {last.finished:%Y-%m-%d %H:%M}, camera {last.summary.get('camera_renderer', 'unknown')}"
    shards = [manifest.shard for manifest in manifests if manifest.shard]
    if shards:
        return f"shards {', '.join(sorted(shards))}, not gathered, {made}"
    parts = f"{len(last.parts)} shards, " if last.parts else ""
    return f"{last.reference}, {parts}{made}"


def _successes(rows: Sequence[Row]) -> int:
    return sum(row["success"] == "True" for row in rows)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=True, justify="right" if index else "left")
    return table


def _metrics(rows: Sequence[Row]) -> Table:
    table = _table("an episode", "mean", "min.", "max.", "")
    for title, column, unit in METRICS:
        values = [float(row[column]) for row in rows if row.get(column)]
        if values:
            table.add_row(title, *(f"{value:.2f}" for value in (fmean(values), min(values), max(values))), unit)
    passed, there = (sum(int(row.get(name) or 0) for row in rows) for name in ("checkpoints_passed", "checkpoints"))
    if there:
        table.add_row("of all checkpoints", _percent(passed, there), "", "", "")
    return table


def _shares(title: str, noun: str, counts: Mapping[str, int]) -> Table:
    table = _table(title, noun, "share")
    for name, count in counts.items():
        table.add_row(name, str(count), _percent(count, sum(counts.values())))
    return table


def _groups(column: str, rows: Sequence[Row], known: Sequence[str]) -> Table:
    """Return episodes and success rates by the values of a column, those of `known` first, even without episodes."""
    values = [row.get(column) or "unknown" for row in rows]
    table = _table(column, "episodes", "success")
    for name in [*known, *sorted(set(values) - set(known))]:
        group = [row for row, value in zip(rows, values, strict=True) if value == name]
        table.add_row(name, str(len(group)), _percent(_successes(group), len(group)))
    return table


def _checks(checks: Counter[str]) -> str:
    made_twice = f"; {checks['episodes']} episodes captured twice without a difference" if checks["episodes"] else ""
    if not checks["frames"]:
        return f"labels were not checked{made_twice}"
    return f"labels: {checks['frames']} frames checked against geometry, {checks['wrong']} errors{made_twice}"
