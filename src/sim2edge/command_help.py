"""Add subcommands whose `--help` shows what they do, their arguments and an example.

verb = add_command(verbs, "show", "print the manifest of an artifact", "sim2edge show refs/models/champion")
"""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_command(commands: "Commands", name: str, what: str, *examples: str) -> argparse.ArgumentParser:
    """Add a subcommand and return its parser.

    Args:
        commands: the subcommands of a parser.
        name: the subcommand.
        what: what it does: an imperative phrase without a period.
        examples: whole command lines.
    """
    return commands.add_parser(
        name,
        help=what,
        description=f"{what[:1].upper()}{what[1:]}.",
        epilog="\n  ".join(["example:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
