"""Decide what of the update repository's metadata has to be renewed, and whether its root can still be used. Pure.

    due_roles(expiries, lifetimes, now)             # ("snapshot", "timestamp"): past half of their lifetimes
    check_root(expires, now, margin)                # BadInput: expired, or about to

Devices refuse every update once a role has expired. Each role is renewed at half of its lifetime, so that there is as
much time again to notice a failure. The root is special: its keys are offline, and a person renews it once a year.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sim2edge.errors import BadInput

ROOT_CEREMONY = "renew it with two of the root keys: `sim2edge ota rotate-root` (docs/fleet-keys.md)"
ROOT_WARNING = timedelta(days=90)
"""A push warns of a root that expires sooner."""


def due_roles(expiries: Mapping[str, datetime], lifetimes: Mapping[str, timedelta], now: datetime) -> tuple[str, ...]:
    """Return the roles that are past half of their lifetime, in the order of `expiries`."""
    return tuple(role for role, expires in expiries.items() if expires - now <= lifetimes[role] / 2)


def days_left(expires: datetime, now: datetime) -> float:
    """Return the days until `expires`; negative when it has passed."""
    return round((expires - now) / timedelta(days=1), 2)


def check_root(expires: datetime, now: datetime, margin: timedelta) -> str | None:
    """Return a warning if the root expires soon; None if there is time.

    Args:
        expires: when the newest root expires.
        now: the time.
        margin: how long a root has to last for something to be pushed under it.

    Raises:
        BadInput: it has expired, or does not last that long.
    """
    left = expires - now
    if left <= timedelta():
        raise BadInput(f"ota/: the root expired on {expires:%Y-%m-%d}, devices refuse every update: {ROOT_CEREMONY}")
    if left < margin:
        raise BadInput(f"ota/: the root expires on {expires:%Y-%m-%d}, too soon to push under it: {ROOT_CEREMONY}")
    if left < ROOT_WARNING:
        return f"the root of the update repository expires on {expires:%Y-%m-%d}: {ROOT_CEREMONY}"
    return None
