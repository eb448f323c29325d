"""Print for whoever reads: a person at a terminal, or a program behind a pipe."""

import sys

from rich.console import Console, RenderableType

PATIENCE_S = 10.0
"""Seconds after which a request is given up where a person waits, who cannot interrupt it."""
WIDE = 100_000
"""Columns of a line that nobody wraps: what is piped on is read line by line."""


def print_whole(what: RenderableType) -> None:
    """Print a table or a tree: as wide as the terminal is, or, where there is none, without wrapping."""
    width = None if sys.stdout.isatty() else WIDE
    console = Console(markup=False, emoji=False, width=width)  # what stages wrote is printed as it is
    with console.capture() as captured:
        console.print(what)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
