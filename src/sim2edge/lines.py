"""What strangers wrote, for a line of a log or of an error: nothing that moves a cursor, and not too long.

    quote("a\\tb")                 'a\\tb'                            a name, in quotes
    first_problem(error)           files.0.sha256: Field required    what pydantic found first

Whoever reads `inbox/` or `retrain/open/` shows what lies there by these.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the detector on the device does without pydantic
    from pydantic import ValidationError

MAX_NAME = 80
MAX_LINE = 400


def quote(name: str) -> str:
    """Return a name in quotes: escaped, and cut."""
    shown = repr(name[: 2 * MAX_NAME])
    return shown if len(shown) <= MAX_NAME and len(name) <= MAX_NAME else f"{shown[:MAX_NAME]}..."


def one_line(text: str) -> str:
    """Return text on one line, as it is but for what is not printable, which is escaped; cut."""
    start = text[: MAX_LINE + 1]
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in start)
    return shown if len(shown) <= MAX_LINE else f"{shown[:MAX_LINE]}..."


def join_lines(text: object, limit: int | None = MAX_LINE) -> str:
    """Return text on one line: each run of white space becomes a space; cut after `limit` characters.

    For errors of libraries, which are ours to print; what strangers wrote takes `one_line`.
    """
    return " ".join(str(text).split())[:limit]


def first_problem(error: "ValidationError", whole: str = "") -> str:
    """Return the first thing that is wrong: `field: what`.

    Args:
        error: what pydantic found.
        whole: what to call the thing itself, when it is no field that is wrong.
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or whole
    what = first["msg"].removeprefix("Value error, ")
    return one_line(f"{where}: {what}" if where else what)
