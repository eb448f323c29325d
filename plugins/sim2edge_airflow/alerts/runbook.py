"""Parse the runbook of a DAG, which is its docstring: purpose, owner, advice when it fails. Pure."""

import re

from sim2edge.lines import join_lines

HEADING = re.compile(r"^\s*###\s*\w+:\s*(.+)$", re.MULTILINE)
OWNER = re.compile(r"^Owner:\s*(.+?)\.?\s*$", re.MULTILINE)
PART = re.compile(r"\*\*(.+?)\*\*[:,.]?\s*(.*)", re.DOTALL)


def purpose(runbook: str) -> str:
    """Return the DAG's purpose from the heading; empty without one."""
    found = HEADING.search(runbook)
    return found[1].strip() if found else ""


def owner(runbook: str) -> str:
    """Return the owner of the DAG; empty if none is named."""
    found = OWNER.search(runbook)
    return found[1] if found else ""


def part(runbook: str, title: str) -> str:
    """Return the paragraph that begins with `**title**`, on one line; empty if there is none."""
    for paragraph in re.split(r"\n\s*\n", runbook):
        found = PART.match(paragraph.strip())
        if found and found[1].lower() == title.lower():
            return join_lines(found[2], limit=None)
    return ""
