"""The word for a release's counters."""

import pytest

from sim2edge.edge.judgement.health import Health, judge, percentile_ms


@pytest.mark.parametrize(
    ("inferences", "consecutive_errors", "idle_s", "stall_after_s", "state"),
    [
        (0, 0, 0, None, "starting"),
        (0, 2, 1, 5, "starting"),
        (0, 3, 1, 5, "failing"),
        (9, 0, 4, 5, "running"),
        (9, 0, 6, 5, "stalled"),
        (9, 0, 6000, None, "running"),
        (0, 0, 6, 5, "stalled"),
        (9, 3, 0, 5, "failing"),
    ],
)
def test_the_state_follows_the_counters(
    inferences: int, consecutive_errors: int, idle_s: float, stall_after_s: float | None, state: str
) -> None:
    assert judge(inferences, consecutive_errors, idle_s, stall_after_s) == state


def test_a_success_ends_a_row_of_errors() -> None:
    health = Health("r1", None)
    assert health.report()["state"] == "standby"
    health.begin()
    for _ in range(3):
        health.failed("camera", "dark")
    assert health.report()["state"] == "failing"
    health.succeeded(0.004)
    report = health.report()
    assert (report["state"], report["errors"], report["consecutive_errors"]) == ("running", 3, 0)
    assert report["latency_ms_p50"] == report["latency_ms_p95"] == 4


def test_percentiles_of_few_and_none() -> None:
    assert percentile_ms([], 0.5) is None
    assert percentile_ms([0.001], 0.95) == 1
    assert percentile_ms([n / 1000 for n in range(100)], 0.95) == 95
