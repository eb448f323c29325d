"""Define the result of a measurement: a value, its peer or limit, their ratio, and whether the ratio is acceptable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

REPEAT = "python -m benchmarks"


@dataclass(frozen=True)
class Result:
    """One line of the report."""

    name: str
    """`<measurement>.<figure>`; the first part is the name of its module."""
    value: float
    unit: str
    against: str = ""
    """What the value is compared with: the name of a peer, or `limit`."""
    peer: float | None = None
    """The peer's value, or the limit, in the same unit."""
    least: float | None = None
    """Minimum ratio; below it the verdict is `over`."""
    most: float | None = None
    """Maximum ratio; above it the verdict is `over`."""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The value divided by the peer's; None without a peer."""
        return self.value / self.peer if self.peer else None

    @property
    def wanted(self) -> str:
        """The bounds of the ratio as text; empty without bounds."""
        bounds = ((">=", self.least), ("<=", self.most))
        return " ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)

    @property
    def verdict(self) -> str:
        """`ok` or `over`; empty without bounds."""
        ratio = self.ratio
        if ratio is None or not self.wanted:
            return ""
        low, high = self.least if self.least is not None else ratio, self.most if self.most is not None else ratio
        return "ok" if low <= ratio <= high else "over"

    @property
    def command(self) -> str:
        """The command that repeats this measurement alone."""
        return f"{REPEAT} {self.name.partition('.')[0]}"

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        numbers = {"value": self.value, "peer": self.peer, "ratio": self.ratio}
        rounded = {name: None if number is None else float(f"{number:.4g}") for name, number in numbers.items()}
        words = {"measurement": self.name, "unit": self.unit, "against": self.against, "wanted": self.wanted}
        return {**words, **rounded, "verdict": self.verdict, "note": self.note, "command": self.command}


def make_table(results: Sequence[Result], title: str) -> Table:
    """Return a table of all results, for the terminal."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in ("measurement", "value", "", "peer or limit", "", "ratio", "wanted", "verdict", "note"):
        table.add_column(heading, justify="right" if heading in ("value", "ratio") else "left", overflow="fold")
    for result in results:
        colour = {"ok": "green", "over": "red", "": "dim"}[result.verdict]
        table.add_row(
            result.name,
            show(result.value),
            result.unit,
            show(result.peer),
            result.against,
            show(result.ratio),
            result.wanted,
            f"[{colour}]{result.verdict or '-'}[/]",
            result.note,
        )
    return table


def show(value: float | None) -> str:
    """Return a number with three significant digits, in full; empty for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
