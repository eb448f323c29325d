"""Compare two runs of a stage, for `sim2edge reproduce`.

differences, checked = compare(stage.deterministic(config), stage.tolerances, recorded, made)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sim2edge.manifest import File
from sim2edge.stage import Outcome


@dataclass(frozen=True)
class Made:
    """The result of a run: the files of its payload, its summary, and the reason of a gate's refusal, if any."""

    files: Sequence[File]
    outcome: Outcome


def compare(same_bytes: bool, tolerances: Mapping[str, float], recorded: Made, made: Made) -> tuple[list[str], str]:
    """Return a line for each difference, none when the run is reproduced; and, in words, what was compared.

    Args:
        same_bytes: whether the stage promises the same bytes; if not, figures are compared.
        tolerances: how far each figure of the summary may differ then.
        recorded: the run on the bus.
        made: the run to compare with it.
    """
    names = {file.path for run in (recorded, made) for file in run.files}
    lines = compare_bytes(recorded.files, made.files)
    identical = f"{len(names) - len(lines)} of {len(names)} files identical"
    checked = f"byte by byte: {identical}"
    if not same_bytes:
        lines = compare_figures(recorded.outcome.summary, made.outcome.summary, tolerances)
        limits = ", ".join(f"{name} {limit:g}" for name, limit in tolerances.items())
        agree = len(tolerances) - len(lines)
        checked = f"within tolerances: {agree} of {len(tolerances)} figures agree ({limits}); of the bytes, {identical}"
    before, after = recorded.outcome.refused, made.outcome.refused
    if bool(before) != bool(after):
        lines.append(f"differs: refused ({before or 'no'}, now {after or 'no'})")
    return lines, checked


def compare_bytes(recorded: Sequence[File], made: Sequence[File]) -> list[str]:
    """Return a line for each file that differs, is missing or is new, by name; empty when all bytes are the same."""
    before = {file.path: file for file in recorded}
    after = {file.path: file for file in made}
    lines = []
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            lines.append(f"missing: {path}")
        elif path not in before:
            lines.append(f"new: {path}")
        elif before[path].sha256 != after[path].sha256:
            lines.append(f"differs: {path} ({before[path].bytes} bytes, now {after[path].bytes})")
    return lines


def compare_figures(recorded: Mapping[str, Any], made: Mapping[str, Any], tolerances: Mapping[str, float]) -> list[str]:
    """Return a line for each figure of two summaries that is missing, or differs by more than its tolerance."""
    lines = []
    for name, tolerance in tolerances.items():
        before, after = recorded.get(name), made.get(name)
        if before is None and after is None and name in recorded and name in made:
            continue  # undefined on this data, now as then
        if before is None or after is None:
            lines.append(f"missing: {name} ({before}, now {after})")
        elif not abs(after - before) <= tolerance:  # NaN differs
            lines.append(f"differs: {name} ({before:g}, now {after:g})")
    return lines
