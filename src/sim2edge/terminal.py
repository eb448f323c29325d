"""Print tables and trees, for a terminal or for a pipe."""

import sys

from rich.console import Console, RenderableType

PATIENCE_S = 10.0
"""Seconds after which an interactive command gives up a request."""
WIDE = 100_000
"""Columns of a line that is not wrapped: programs read piped output line by line."""


def print_whole(what: RenderableType) -> None:
    """Print a table or a tree: as wide as the terminal, or unwrapped where output is no terminal."""
    width = None if sys.stdout.isatty() else WIDE
    console = Console(markup=False, emoji=False, width=width)  # what stages wrote is printed as it is
    with console.capture() as captured:
        console.print(what)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
