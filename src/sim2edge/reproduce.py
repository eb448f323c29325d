"""Compares the files of two runs of a stage: what `sim2edge reproduce` decides by."""

from collections.abc import Sequence

from sim2edge.manifest import File


def compare(recorded: Sequence[File], made: Sequence[File]) -> list[str]:
    """One line for each file that differs, is missing or is new; empty when all bytes are the same."""
    before = {file.path: file for file in recorded}
    after = {file.path: file for file in made}
    lines = [f"missing: {path}" for path in sorted(before.keys() - after.keys())]
    lines += [f"new: {path}" for path in sorted(after.keys() - before.keys())]
    lines += [
        f"differs: {path} ({before[path].bytes} bytes, now {after[path].bytes})"
        for path in sorted(before.keys() & after.keys())
        if before[path].sha256 != after[path].sha256
    ]
    return lines
