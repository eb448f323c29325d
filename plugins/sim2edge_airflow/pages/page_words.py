"""Format times, sizes and numbers for the pages. Pure functions, the filters of the templates.

Values may come from a stage or a device: no value raises an error, and every result is bounded in length.
"""

import json
from datetime import UTC, datetime
from typing import Any

from sim2edge.catalog import is_number

CLOCK_S = 5.0
"""Seconds that the clock of another machine may be ahead of ours."""
MAX_TEXT = 400


def ago(then: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago: `12 s ago`, `3 h ago`; a date after 30 days; future times are labelled as such."""
    if then is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    if seconds < -CLOCK_S:
        return f"{duration(-seconds)} ahead of our clock"
    if seconds > 30 * 86400:
        return then.strftime("%Y-%m-%d")
    return f"{duration(max(seconds, 0.0))} ago"


def duration(seconds: float | None) -> str:
    """Return a duration in a suitable unit: `0.8 s`, `57 s`, `12 min`, `3.4 h`, `2 d`."""
    if not is_number(seconds):
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
    """Return a number of bytes in a suitable unit: `12 B`, `3.4 MB`."""
    if not is_number(count):
        return ""
    unit = "B"
    for larger in ("kB", "MB", "GB"):
        if count < 1000:
            break
        count, unit = count / 1000, larger
    return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"


def number(value: Any) -> str:
    """Return a number with three significant digits, thousands separated, large ones as `400 k`; else `str(value)`."""
    if isinstance(value, bool) or not is_number(value):
        return "" if value is None else short(str(value), MAX_TEXT)
    if abs(value) >= 100_000:
        return f"{value / 1e6:.1f} M" if abs(value) >= 1e6 else f"{value / 1e3:.0f} k"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def moment(then: datetime | None) -> str:
    """Return a time as `YYYY-MM-DD HH:MM:SS UTC`; empty for None."""
    return then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if then else ""


def short(value: Any, most: int = 60) -> str:
    """Truncate a text to `most` characters."""
    text = str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def words(value: Any) -> str:
    """Format any value of a config or a summary: small objects and lists in words, others as JSON."""
    if not isinstance(value, dict | list):
        return number(value)
    plain = _flat(value)
    return short(json.dumps(value, ensure_ascii=False, default=str) if plain is None else plain, MAX_TEXT)


def _flat(value: dict[str, Any] | list[Any]) -> str | None:
    if isinstance(value, dict):
        if not all(isinstance(each, int | float | str) for each in value.values()):
            return None
        return ", ".join(f"{name} {number(each)}" for name, each in value.items() if each) or "none"
    if len(value) <= 12 and all(isinstance(each, int | float | str) for each in value):
        return ", ".join(map(number, value)) or "none"
    return None
