"""Find the installed stages: the entry points of the group `sim2edge.stages`, ours included.

    [project.entry-points."sim2edge.stages"]
    clean = "sim2edge.clean:STAGE"

Nothing is imported here. The distribution sim2edge is read first, which takes a fraction of a millisecond; all others
are read only for a name that is not ours, or to list every stage.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points

GROUP = "sim2edge.stages"
DISTRIBUTION = "sim2edge"


@cache
def own_entries() -> Mapping[str, EntryPoint]:
    """Return our own stages by name; empty when sim2edge runs without being installed."""
    try:
        return {entry.name: entry for entry in distribution(DISTRIBUTION).entry_points if entry.group == GROUP}
    except PackageNotFoundError:
        return {}


@cache
def all_entries() -> Mapping[str, EntryPoint]:
    """Return every stage by name: ours, then those of other distributions, sorted by their names."""
    others = (entry for entry in entry_points(group=GROUP) if distribution_of(entry) != DISTRIBUTION)
    found = dict(own_entries())
    for entry in sorted(others, key=lambda entry: (distribution_of(entry), entry.name)):
        found.setdefault(entry.name, entry)
    return found


@cache
def duplicates() -> tuple[str, ...]:
    """Return a line for each stage whose name another distribution has already."""
    taken = all_entries()
    return tuple(
        f"stage '{entry.name}' of distribution '{distribution_of(entry)}' is left out: "
        f"'{distribution_of(taken[entry.name])}' has one of that name"
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, distribution_of(entry)))
        if distribution_of(taken[entry.name]) != distribution_of(entry)
    )


def find_entry(name: str) -> EntryPoint | None:
    """Return the entry point of the stage called `name`; None when there is none."""
    return own_entries().get(name) or all_entries().get(name)


def is_importable(entry: EntryPoint) -> bool:
    """Return whether an entry point is `module` or `module:name`: the standard library fails over any other."""
    return EntryPoint.pattern.match(entry.value) is not None


def distribution_of(entry: EntryPoint) -> str:
    """Return the name of the distribution that an entry point comes from."""
    return entry.dist.name if entry.dist else "?"


def distribution_name(stage: str) -> str:
    """Return the name of the distribution that a stage comes from; ours when it is not installed."""
    entry = find_entry(stage)
    return distribution_of(entry) if entry else DISTRIBUTION


def forget() -> None:
    """Clear the caches, after something was installed."""
    for each in (own_entries, all_entries, duplicates):
        each.cache_clear()
