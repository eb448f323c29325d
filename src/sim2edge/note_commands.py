"""Name, star, describe or archive an artifact, or print its note.

    sim2edge note refs/models/champion                                  print it
    sim2edge note model/demo-1/3f2a9c0d11e4b7a6 --name "best so far" --star
    sim2edge note 3f2a9c0d11e4b7a6 --text "trained without the blurred batches"
    sim2edge note 3f2a9c0d11e4b7a6 --archive                            hide it in lists; --restore shows it again

Retention keeps starred artifacts and their inputs. Archived does not mean deleted. An empty --name or --text removes
it.
"""

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from sim2edge.bus import Bus
from sim2edge.lineage import find_root
from sim2edge.notes import Change, Note, edit, read_note
from sim2edge.progress import PATIENCE_S
from sim2edge.retrain_commands import user


def main(argv: Sequence[str]) -> int:
    """Change or print a note; return the exit code.

    Raises:
        BadInput: a field is invalid, or nothing has this name.
        Conflict: others kept changing it meanwhile.
    """
    arguments = parser().parse_args(argv)
    bus = Bus.from_environment(PATIENCE_S)
    reference = find_root(bus, arguments.artifact)
    change = Change(arguments.name, arguments.star, arguments.archived, arguments.text)
    if change.empty:
        found = read_note(bus, reference)
        note = found[0] if found else None
    else:
        note = edit(bus, reference, change, arguments.by or user(), datetime.now(UTC))
    if arguments.json:
        print(json.dumps(note.model_dump(mode="json") if note else None, indent=1))
    else:
        print(f"{reference}: {describe(note) if note else 'no note'}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge note", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("artifact", help="a reference, a ref, an id, or devices/<id>")
    top.add_argument("--name", help="a name of up to 60 characters")
    top.add_argument("--star", action=argparse.BooleanOptionalAction, help="keep it, and list it first")
    hidden = top.add_mutually_exclusive_group()
    hidden.add_argument("--archive", dest="archived", action="store_true", default=None, help="hide it in lists")
    hidden.add_argument("--restore", dest="archived", action="store_false", help="show it in lists again")
    top.add_argument("--text", help="a text of up to 2,000 characters")
    top.add_argument("--by", help="who says so (default: the user)")
    top.add_argument("--json", action="store_true", help="print JSON")
    return top


def describe(note: Note) -> str:
    """Return a note in one paragraph."""
    marks = [word for word, is_so in (("starred", note.star), ("archived", note.archived)) if is_so]
    words = ", ".join([*([f"'{note.name}'"] if note.name else []), *marks]) or "no name, no star"
    said = f" ({note.by}, {note.at:%Y-%m-%d %H:%M} UTC)"
    return words + said + (f"\n{note.text}" if note.text else "")
