"""What Airflow's database has from before the package sim2edge_airflow loads, under the paths it has there."""

import pytest
from airflow._shared.module_loading import import_string
from airflow.serialization.decoders import decode_deadline_reference, decode_timetable
from airflow.serialization.encoders import encode_timetable

from sim2edge_airflow.alerts.deadlines import QueuedAt
from sim2edge_airflow.alerts.report import report_late
from sim2edge_airflow.scheduling.batch_timetable import BatchTimetable
from sim2edge_airflow.scheduling.bus_trigger import BusTrigger

# As rows of tables `serialized_dag` and `deadline_alert` have it.
TIMETABLE = {"__type": "batch_timetable.BatchTimetable", "__var": {"cron": "0 2 * * *", "automatic": False}}
REFERENCE = {"reference_type": "QueuedAt", "__class_path": "deadlines.QueuedAt"}


def test_the_timetable_of_a_serialized_dag_is_the_one_of_today():
    found = decode_timetable(TIMETABLE)
    assert isinstance(found, BatchTimetable)
    assert found.serialize() == TIMETABLE["__var"]
    assert found.resolve_partition_date("demo-1") is None
    assert str(found.resolve_partition_date("2026-05-04")).startswith("2026-05-04")


def test_a_dag_that_is_read_now_is_stored_under_the_new_path():
    assert encode_timetable(BatchTimetable("0 2 * * *"))["__type"] == (
        "sim2edge_airflow.scheduling.batch_timetable.BatchTimetable"
    )


def test_the_reference_of_a_deadline_is_the_one_of_today():
    assert isinstance(decode_deadline_reference(REFERENCE).inner_ref, QueuedAt)


# Tables `callback` and `deadline_alert`; `trigger`.
@pytest.mark.parametrize(("path", "now"), [("alerts.report_late", report_late), ("bus_trigger.BusTrigger", BusTrigger)])
def test_what_is_stored_by_its_path_alone_is_the_same(path, now):
    assert import_string(path) is now
