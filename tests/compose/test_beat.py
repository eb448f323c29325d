"""The health check of Airflow's parts: by what the API server says of their heartbeats."""

from datetime import UTC, datetime, timedelta

import pytest

from sim2edge.compose.beat import judge

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def health(part: str, status: str = "healthy", age_s: float = 5) -> dict[str, dict[str, str]]:
    beat = (NOW - timedelta(seconds=age_s)).isoformat()
    return {"metadatabase": {"status": status}, part: {"status": status, f"latest_{part}_heartbeat": beat}}


@pytest.mark.parametrize("part", ["scheduler", "dag_processor", "triggerer"])
def test_a_part_that_beats_is_healthy(part):
    assert judge(part, health(part), NOW) is None
    assert judge(part, health(part, "unhealthy"), NOW) == f"{part}: unhealthy"
    assert judge(part, health(part, age_s=70), NOW) == f"{part}: last heartbeat 70 s ago"
    assert judge(part, {part: {"status": None, f"latest_{part}_heartbeat": None}}, NOW) == f"{part}: never seen"
    assert judge(part, {}, NOW) == f"{part}: never seen"


def test_the_api_server_needs_its_database():
    assert judge("api", health("scheduler"), NOW) is None
    assert judge("api", health("scheduler", "unhealthy"), NOW) == "the database does not answer"
    assert judge("api", None, NOW) == "the API server does not answer"
