"""What a measurement gives: a value beside its peer or limit, the ratio of the two, and whether that is as wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

REPEAT = "python -m benchmarks"


@dataclass(frozen=True)
class Result:
    """One line of the report."""

    name: str
    """`<measurement>.<what>`; the first part repeats it alone."""
    value: float
    unit: str
    against: str = ""
    """What the value is held against: the name of a peer, or `limit`."""
    peer: float | None = None
    """The peer's value, or the limit, in the same unit."""
    least: float | None = None
    """Ratio below which the result is over its limit."""
    most: float | None = None
    """Ratio above which it is."""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value by peer; None without a peer."""
        return self.value / self.peer if self.peer else None

    @property
    def wanted(self) -> str:
        """The ratio wanted, in words; empty when none is."""
        bounds = ((">=", self.least), ("<=", self.most))
        return " ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)

    @property
    def verdict(self) -> str:
        """`ok` or `over`; empty when no ratio is wanted."""
        ratio = self.ratio
        if ratio is None or not self.wanted:
            return ""
        low, high = self.least if self.least is not None else ratio, self.most if self.most is not None else ratio
        return "ok" if low <= ratio <= high else "over"

    @property
    def command(self) -> str:
        """What repeats this measurement alone."""
        return f"{REPEAT} {self.name.partition('.')[0]}"

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        numbers = {"value": self.value, "peer": self.peer, "ratio": self.ratio}
        rounded = {name: None if number is None else float(f"{number:.4g}") for name, number in numbers.items()}
        words = {"measurement": self.name, "unit": self.unit, "against": self.against, "wanted": self.wanted}
        return {**words, **rounded, "verdict": self.verdict, "note": self.note, "command": self.command}


def make_table(results: Sequence[Result], title: str) -> Table:
    """Return all results for a person."""
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
