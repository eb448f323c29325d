"""The arithmetic of a fleet's load: the figures of docs/fleet-load.md."""

import json
import sys

import pytest
from benchmarks import fleet_load
from benchmarks.fleet_load import Device, Prices, idle_day, rollout

MEASURED = Device(idle_requests=2, idle_bytes=740, rollout_requests=4, rollout_bytes=227_000)


@pytest.mark.parametrize(("interval_s", "gets", "dollars"), [(30, 57.6e6, 32.16), (300, 5.76e6, 9.70)])
def test_a_day_of_ten_thousand_devices(interval_s, gets, dollars):
    day = idle_day(MEASURED, 10_000, interval_s, Prices())
    assert day.gets == pytest.approx(gets)
    assert day.puts == pytest.approx(1.44e6)
    assert day.dollars == pytest.approx(dollars, abs=0.01)


def test_a_release_for_ten_thousand_devices():
    whole = rollout(MEASURED, 10_000, Prices())
    assert (whole.gets, whole.gigabytes) == (40_000, pytest.approx(2.27))
    assert whole.dollars == pytest.approx(0.37, abs=0.01)
    assert rollout(MEASURED, 10_000, Prices(0, 0, 0)).dollars == 0


def test_the_command_reckons_with_given_figures(monkeypatch, capsys):
    figures = "--interval 300 --idle-requests 2 --idle-bytes 740 --rollout-requests 4 --rollout-bytes 227000"
    monkeypatch.setattr(sys, "argv", ["fleet_load", *figures.split()])
    fleet_load.main()
    assert json.loads(capsys.readouterr().out)["idle_day"]["dollars"] == pytest.approx(9.70, abs=0.01)
