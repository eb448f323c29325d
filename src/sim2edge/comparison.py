"""Compare two artifacts side by side: what they were made with and from, and what came of it.

    sim2edge compare refs/models/champion model/demo-2/3f2a9c0d11e4b7a6 [--json]

Only what differs is shown, unless `--all` asks for everything. Numbers come with their difference, and
which is better as far as the name of the figure tells.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.expectation import flatten
from sim2edge.lineage import find_root
from sim2edge.manifest import Manifest
from sim2edge.progress import PATIENCE_S, print_whole

HIGHER = frozenset(("accuracy", "agreement", "ap", "f1", "map", "precision", "recall", "successes"))
LOWER = frozenset(("bytes", "collisions", "cpu", "error", "errors", "latency", "loss", "misses", "ms", "wall"))
"""Words in the name of a figure that is better when higher, and when lower."""
PARTS = ("made by", "config", "inputs", "result", "cost", "files")


@dataclass(frozen=True)
class Line:
    """One value of two artifacts."""

    part: str
    """One of `PARTS`."""
    name: str
    first: Any
    """The first one's value; None if it has none."""
    second: Any

    @property
    def differs(self) -> bool:
        """Whether the two values differ."""
        return bool(self.first != self.second)

    @property
    def difference(self) -> float | None:
        """How much larger the second is, for numbers."""
        both = (self.first, self.second)
        numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in both)
        return self.second - self.first if numbers else None

    @property
    def better(self) -> str | None:
        """Which is better, `first` or `second`; None if they are equal or the name of the figure does not tell."""
        change, sign = self.difference, direction(self.name) if self.part in ("result", "cost") else 0
        return ("second" if change * sign > 0 else "first") if change and sign else None


def direction(name: str) -> int:
    """Return 1 for a figure that is better when higher, -1 when lower, by the words of its name; 0 if it is unknown."""
    words = set(re.split(r"[^a-z0-9]+|(?<=[a-z])(?=[0-9])", name.lower()))
    if words & LOWER:
        return -1
    return 1 if words & HIGHER or {"success", "rate"} <= words else 0


def compare(first: Manifest, second: Manifest) -> Sequence[Line]:
    """Return every value of two artifacts of one kind, those of a part together.

    Raises:
        BadInput: they are of different kinds.
    """
    if first.kind != second.kind:
        raise BadInput(f"{first.reference} and {second.reference} are of different kinds: nothing to compare")
    views = [view(manifest) for manifest in (first, second)]
    names = dict.fromkeys(key for each in views for key in each)
    found = [Line(part, name, *(each.get((part, name)) for each in views)) for part, name in names]
    return sorted(found, key=lambda line: PARTS.index(line.part))


def view(manifest: Manifest) -> Mapping[tuple[str, str], Any]:
    """Return the values of an artifact, by part and dotted name; lists stay whole."""
    parts: dict[str, Mapping[str, Any]] = {
        "made by": {"stage": f"{manifest.stage} v{manifest.version}", "refused": manifest.refused},
        "config": flatten(manifest.config),
        "inputs": {role: ", ".join(given) for role, given in manifest.inputs.items()},
        "result": flatten(manifest.summary),
        "cost": {"wall_s": manifest.cost.wall_s, "cpu_s": manifest.cost.cpu_s, "bytes": manifest.size},
        "files": {file.path: file.sha256[:16] for file in manifest.files},
    }
    return {(part, name): value for part, values in parts.items() for name, value in values.items()}


def show_comparison(arguments: argparse.Namespace) -> int:
    """Run `compare`: print a row for each value that differs, or for all."""
    bus = Bus.from_environment(PATIENCE_S)
    first, second = (bus.open(find_root(bus, text)) for text in (arguments.first, arguments.second))
    lines = [line for line in compare(first, second) if arguments.all or line.differs]
    if arguments.json:
        print(json.dumps([asdict(line) for line in lines], indent=1))
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("", "", first.reference, second.reference, "difference", "better"):
        table.add_column(column, overflow="fold")
    for line in lines:
        change = "" if line.difference is None else f"{line.difference:+.4g}"
        table.add_row(line.part, line.name, show_value(line.first), show_value(line.second), change, line.better or "")
    print_whole(table)
    if not lines:
        print("nothing differs")
    return 0


def show_value(value: Any) -> str:
    """Return a value in words: numbers with four digits, nothing as a dash."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
