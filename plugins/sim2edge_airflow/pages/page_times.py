"""Show times in the time zone of the deployment, `[core] default_timezone`; filters of the templates.

    {{ record.finished | at }}       <time title="2026-05-06 12:00:00 UTC" ...>2026-05-06 14:00:00 CEST</time>
    {{ record.finished | since }}    <time title="2026-05-06 12:00:00 UTC" ...>3 h ago</time>

A reader who has chosen a time zone in Airflow's UI sees that one: `templates/times.js` rewrites the same elements. The
title keeps UTC. `page_words.moment` and `page_words.ago` are the same texts without an element, as for attributes.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow.sdk.configuration import conf
from markupsafe import Markup

from sim2edge_airflow.pages.page_words import ago, moment

DAYS = timedelta(days=30)
"""Age from which a time is shown as a date, not as an age."""


@cache
def read_zone() -> tzinfo:
    """Return the time zone of `[core] default_timezone`; UTC if it names none."""
    name = str(conf.get("core", "default_timezone", fallback="utc"))
    if name == "system":
        return datetime.now().astimezone().tzinfo or UTC
    try:
        return UTC if name.lower() == "utc" else ZoneInfo(name)
    except (ValueError, ZoneInfoNotFoundError):
        return UTC


def at(then: datetime | None, zone: tzinfo | None = None) -> Markup:
    """Return a time as an element that shows date, time and zone; empty for None."""
    if then is None:
        return Markup()
    return _element(then, "moment", then.astimezone(zone or read_zone()).strftime("%Y-%m-%d %H:%M:%S %Z"))


def since(then: datetime | None, now: datetime | None = None, zone: tzinfo | None = None) -> Markup:
    """Return how long ago as an element; a date after 30 days; `never` for None."""
    if then is None:
        return Markup("never")
    if (now or datetime.now(UTC)) - then > DAYS:
        return _element(then, "date", then.astimezone(zone or read_zone()).strftime("%Y-%m-%d"))
    return _element(then, "age", ago(then, now))


def _element(then: datetime, shows: str, text: str) -> Markup:
    template = Markup('<time datetime="{}" title="{}" data-shows="{}">{}</time>')
    return template.format(then.astimezone(UTC).isoformat(timespec="seconds"), moment(then), shows, text)
