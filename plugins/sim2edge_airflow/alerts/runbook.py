"""Reads the runbook of a DAG, which is its docstring: what it is for, who owns it, what to do when it fails. Pure."""

import re

HEADING = re.compile(r"^\s*###\s*\w+:\s*(.+)$", re.MULTILINE)
OWNER = re.compile(r"^Owner:\s*(.+?)\.?\s*$", re.MULTILINE)
PART = re.compile(r"\*\*(.+?)\*\*[:,.]?\s*(.*)", re.DOTALL)


def purpose(runbook: str) -> str:
    """Return what the heading says the DAG does; empty without one."""
    found = HEADING.search(runbook)
    return found[1].strip() if found else ""


def owner(runbook: str) -> str:
    """Return who looks after the DAG; empty when nobody is named."""
    found = OWNER.search(runbook)
    return found[1] if found else ""


def part(runbook: str, title: str) -> str:
    """Return the paragraph that begins with `**title**`, on one line; empty when there is none."""
    for paragraph in re.split(r"\n\s*\n", runbook):
        found = PART.match(paragraph.strip())
        if found and found[1].lower() == title.lower():
            return " ".join(found[2].split())
    return ""
