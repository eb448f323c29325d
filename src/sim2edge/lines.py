"""Format untrusted text for a line of a log or an error: no control characters, limited length.

    quote("a\\tb")                 'a\\tb'                            a name, in quotes
    without_users("http://me:x@h")  http://h                         no user, no password
    first_problem(error)           files.0.sha256: Field required    the first error of pydantic

Readers of `inbox/` and `retrain/open/` show its content by these.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the detector on the device runs without pydantic
    from pydantic import ValidationError

MAX_NAME = 80
MAX_LINE = 400


def quote(name: str) -> str:
    """Return a name in quotes, escaped and truncated."""
    shown = repr(name[: 2 * MAX_NAME])
    return shown if len(shown) <= MAX_NAME and len(name) <= MAX_NAME else f"{shown[:MAX_NAME]}..."


def one_line(text: str) -> str:
    """Return text on one line: non-printable characters escaped, truncated."""
    start = text[: MAX_LINE + 1]
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in start)
    return shown if len(shown) <= MAX_LINE else f"{shown[:MAX_LINE]}..."


def join_lines(text: object, limit: int | None = MAX_LINE) -> str:
    """Return text on one line: each run of white space becomes a space; truncated to `limit` characters.

    For errors of libraries, which are trusted; untrusted text takes `one_line`.
    """
    return " ".join(str(text).split())[:limit]


def describe_error(error: BaseException) -> str:
    """Return an error of foreign code on one line: `KeyError: 'x'`; only its type if it cannot be printed."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # any: `__str__` is foreign, too
        text = ""
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def without_users(text: str) -> str:
    """Return text without the users and passwords of the URLs in it."""
    return re.sub(r"(?<=://)[^\s'\"]*@", "", text)


def first_problem(error: "ValidationError", whole: str = "") -> str:
    """Return the first validation error: `field: message`.

    Args:
        error: the error of pydantic.
        whole: the name of the whole object, if the error is not in a field.
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or whole
    what = first["msg"].removeprefix("Value error, ")
    return one_line(f"{where}: {what}" if where else what)
