"""The task that watches whose the devices' statuses are: it alerts once."""

from types import SimpleNamespace

import pytest
from airflow.sdk import Context
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException
from signed_devices import SigningDevice

from sim2edge.enrol import register
from sim2edge_airflow.operators import watch_operator
from sim2edge_airflow.operators.watch_operator import WatchOperator


@pytest.fixture
def alerts(monkeypatch, bus, gauges):
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setattr(watch_operator, "connect_bus", lambda: bus)
    monkeypatch.setattr(watch_operator.stats, "gauge", gauges.__setitem__)
    sent = []
    monkeypatch.setattr(watch_operator, "deliver", sent.append)
    return sent


@pytest.fixture
def gauges():
    return {}


def run() -> dict[str, str]:
    instance = SimpleNamespace(
        dag_id="refresh_fleet", run_id="run", task_id="watch", map_index=-1, try_number=1, log_url="http://log"
    )
    instance.xcom_push = lambda key, value: None
    runbook = "**When a device is doubtful**: revoke it.\n\nOwner"
    task = SimpleNamespace(owner="robotics", dag=SimpleNamespace(doc_md=runbook))
    operator = WatchOperator(task_id="watch", owner="robotics")
    return operator.execute(Context(ti=instance, task=task))


def test_without_enrolled_devices_there_is_nothing_to_alert_of(alerts, bus):
    bus.put("fleet/pi-1/status.json", b"{")
    assert run() == {}
    assert alerts == []


def test_a_device_whose_status_is_forged_is_alerted_of_once_and_counted_as_long_as_it_is(alerts, gauges, bus, tmp_path):
    pi = SigningDevice(bus, tmp_path)
    pi.send()
    assert run() == {}
    assert gauges == {"sim2edge.fleet.doubtful": 0}
    pi.send(b'{"device": "pi-1"}')
    assert run() == {"pi-1": "unsigned"}
    assert run() == {}
    assert gauges == {"sim2edge.fleet.doubtful": 1}
    (alert,) = alerts
    assert "pi-1: its status is not signed" in alert.problem
    assert alert.what_to_do == "revoke it."


def test_a_damaged_register_fails_the_task_with_its_line(alerts, bus):
    bus.put(register.REGISTER, b"{")
    with pytest.raises(AirflowFailException, match="not a register of devices"):
        run()
