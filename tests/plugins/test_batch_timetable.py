"""Batches by date for backfills, by any name by hand; nothing by itself unless the deployment says so."""

import importlib
import sys
from datetime import UTC, datetime, timedelta

import pytest
from airflow.exceptions import InvalidPartitionKeyError
from airflow.plugins_manager import get_timetables_plugins
from airflow.timetables.base import TimeRestriction

from sim2edge_airflow.scheduling.batch_timetable import BatchTimetable

NOW = TimeRestriction(earliest=None, latest=None, catchup=False)


def next_run(timetable):
    return timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=NOW)


def test_a_backfill_makes_a_batch_a_day_named_by_its_date():
    timetable = BatchTimetable("@daily", automatic=False)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    infos = timetable.iter_partition_dagrun_infos(earliest=start, latest=start + timedelta(days=2))
    assert [info.partition_key for info in infos] == ["2026-01-01", "2026-01-02", "2026-01-03"]


def test_nothing_starts_by_itself_unless_it_is_automatic():
    assert next_run(BatchTimetable("@daily", automatic=False)) is None
    soon = next_run(BatchTimetable("0 2 * * *")).run_after  # or just now: Airflow makes up for one missed by 2.4 hours
    assert soon.hour == 2
    assert abs(soon - datetime.now(UTC)) <= timedelta(days=1)


def test_a_batch_may_have_any_name():
    timetable = BatchTimetable("@daily")
    assert timetable.resolve_partition_date("demo-1") is None
    assert timetable.resolve_partition_date("2026-01-01") == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("name", ["../x", "%2e%2e", "<b>x</b>", "Ümlaut", "", "a b", "x" * 10_240])
def test_but_none_that_cannot_be_one(name):
    with pytest.raises(InvalidPartitionKeyError, match="expected 1 to 63 of a-z") as caught:
        BatchTimetable("@daily").resolve_partition_date(name)
    assert len(str(caught.value)) < 250


def test_it_survives_serialization_and_is_registered():
    timetable = BatchTimetable("0 2 * * *", automatic=False)
    again = BatchTimetable.deserialize(timetable.serialize())
    assert again.serialize() == timetable.serialize() == {"cron": "0 2 * * *", "automatic": False}
    assert get_timetables_plugins()["sim2edge_airflow.scheduling.batch_timetable.BatchTimetable"] is BatchTimetable


def test_airflow_loads_the_plugin_and_of_the_folder_only_the_old_paths():
    for manager in ("airflow.plugins_manager", "airflow.sdk.plugins_manager"):
        plugins, errors = importlib.import_module(manager)._get_plugins()
        ours = [plugin.name for plugin in plugins if plugin.name != "OpenLineageProviderPlugin"]
        assert (ours, errors) == (["sim2edge_old_paths", "sim2edge"], {})
    assert sys.modules["sim2edge_airflow.scheduling.batch_timetable"].BatchTimetable is BatchTimetable
