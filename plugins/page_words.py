"""How the pages write times, sizes and numbers. Pure functions, the filters of the templates."""

from datetime import UTC, datetime
from typing import Any


def ago(then: datetime | None, now: datetime | None = None) -> str:
    """How long ago: `12 s ago`, `3 h ago`; a date when it is more than a month."""
    if then is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    if seconds > 30 * 86400:
        return then.strftime("%Y-%m-%d")
    return f"{duration(max(seconds, 0.0))} ago"


def duration(seconds: float | None) -> str:
    """A time in the unit that suits it: `0.8 s`, `57 s`, `12 min`, `3.4 h`, `2 d`."""
    if seconds is None:
        return ""
    for limit, divisor, unit, digits in (
        (10, 1, "s", 1),
        (90, 1, "s", 0),
        (5400, 60, "min", 0),
        (172800, 3600, "h", 1),
    ):
        if seconds < limit:
            return f"{seconds / divisor:.{digits}f} {unit}"
    return f"{seconds / 86400:.0f} d"


def size(count: float | None) -> str:
    """Bytes, in the unit that suits them."""
    if count is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def number(value: Any) -> str:
    """A number with three significant digits, thousands separated, large ones as `400 k`; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if abs(value) >= 100_000:
        return f"{value / 1e6:.1f} M" if abs(value) >= 1e6 else f"{value / 1e3:.0f} k"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def moment(then: datetime | None) -> str:
    """A time in full, UTC."""
    return then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if then else ""


def short(text: str, most: int = 60) -> str:
    """At most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def flat(value: Any) -> str | None:
    """A small object or list of plain values as words, what is zero left out; None when it is not that simple."""
    if isinstance(value, dict):
        if not all(isinstance(each, int | float | str) for each in value.values()):
            return None
        return ", ".join(f"{name} {number(each)}" for name, each in value.items() if each) or "none"
    if isinstance(value, list) and len(value) <= 12 and all(isinstance(each, int | float | str) for each in value):
        return ", ".join(map(number, value)) or "none"
    return None
