"""How long an answer waits; that one is not void is tested under the scheduler, in tests/dags/test_retraining.py."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sim2edge_airflow.pages import answer_guard
from sim2edge_airflow.pages.answer_guard import REST_S, AnswerGuard, seconds_to_wait

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATH = "/api/v2/dags/release_model/dagRuns/manual__2026-01-01T00%3A00/taskInstances/approve/-1/hitlDetails"


@pytest.mark.parametrize(
    ("age_s", "wait_s"), [(0, REST_S), (REST_S - 1, 1), (REST_S, 0), (3600, 0), (-3600, REST_S), (None, 0)]
)
def test_an_answer_waits_until_its_question_has_come_to_rest_and_never_longer(age_s, wait_s):
    asked = None if age_s is None else NOW - timedelta(seconds=age_s)
    assert seconds_to_wait(asked, NOW) == wait_s


@pytest.mark.parametrize(
    ("method", "path", "waits"), [("PATCH", PATH, True), ("GET", PATH, False), ("PATCH", "/api/v2/dags/x", False)]
)
def test_only_answers_wait(monkeypatch, method, path, waits):
    passed, asked = [], []
    monkeypatch.setattr(answer_guard, "REST_S", 0.1)
    monkeypatch.setattr(answer_guard, "find_question", lambda *of: asked.append(of) or datetime.now(UTC))

    async def app(scope, receive, send):
        passed.append(asyncio.get_running_loop().time())

    async def run():
        begun = asyncio.get_running_loop().time()
        await AnswerGuard(app)({"type": "http", "method": method, "path": path}, None, None)
        return passed[0] - begun

    took = asyncio.run(run())
    assert (took >= 0.09) == waits
    assert asked == ([("release_model", "manual__2026-01-01T00:00", "approve", -1)] if waits else [])
