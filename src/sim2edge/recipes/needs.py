"""Declare which roles of a recorded drive each recipe learns from; a drive that serves one recipe is worth taking.

    served, lacking = match(["image", "labels"])      # ["perception"], {}

The entry point `<recipe> = "module:ROLES"` in the group `sim2edge.needs` declares those of an installed recipe. This
module is light to import.
"""

from collections.abc import Collection, Mapping
from importlib.metadata import entry_points
from typing import Literal, get_args

from sim2edge.errors import Misconfigured

Role = Literal["image", "scan", "pose", "command", "labels"]
ROLES: tuple[Role, ...] = get_args(Role)
GROUP = "sim2edge.needs"

OURS: Mapping[str, frozenset[str]] = {"perception": frozenset({"image", "labels"})}


def needs() -> Mapping[str, frozenset[str]]:
    """Return the roles that each recipe needs, by name of the recipe.

    Raises:
        Misconfigured: an installed recipe declares a role that does not exist.
    """
    found = dict(OURS)
    for point in entry_points(group=GROUP):
        found[point.name] = frozenset(point.load())
        unknown = sorted(found[point.name] - set(ROLES))
        if unknown:
            raise Misconfigured(f"recipe '{point.name}' needs '{unknown[0]}', which is not one of: {', '.join(ROLES)}")
    return found


def match(roles: Collection[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the recipes that a drive with these roles serves, and for each other recipe the roles that it lacks."""
    lacking: dict[str, list[str]] = {}
    for name, wanted in needs().items():
        lacking[name] = [role for role in ROLES if role in wanted and role not in roles]
    return [name for name, missing in lacking.items() if not missing], {name: m for name, m in lacking.items() if m}
