"""Times on the pages: in the deployment's time zone, with UTC in the title, readable for the script."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from sim2edge_airflow.pages.page_times import at, read_zone, since

NOON = datetime(2026, 7, 6, 12, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")
TAG = '<time datetime="2026-07-06T12:00:00+00:00" title="2026-07-06 12:00:00 UTC" data-shows="{}">{}</time>'


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (at(NOON, UTC), TAG.format("moment", "2026-07-06 12:00:00 UTC")),
        (at(NOON, PARIS), TAG.format("moment", "2026-07-06 14:00:00 CEST")),
        (at(None), ""),
        (since(NOON, NOON + timedelta(hours=3), PARIS), TAG.format("age", "3.0 h ago")),
        (since(NOON, NOON + timedelta(days=40), PARIS), TAG.format("date", "2026-07-06")),
        (since(None), "never"),
    ],
)
def test_a_time_shows_its_zone_and_keeps_utc(shown, expected):
    assert shown == expected


def test_late_in_the_evening_a_date_is_that_of_the_zone():
    late = datetime(2026, 7, 6, 23, 30, tzinfo=UTC)
    assert ">2026-07-07</time>" in since(late, late + timedelta(days=40), PARIS)


@pytest.mark.parametrize(("name", "zone"), [("utc", UTC), ("Europe/Paris", PARIS), ("no/such", UTC), ("../etc", UTC)])
def test_the_zone_is_that_of_airflow(monkeypatch, name, zone):
    monkeypatch.setenv("AIRFLOW__CORE__DEFAULT_TIMEZONE", name)
    read_zone.cache_clear()
    assert read_zone() == zone
    read_zone.cache_clear()
