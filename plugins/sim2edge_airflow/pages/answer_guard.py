"""Hold the answer to a required action until its task has come to rest: middleware of Airflow's API server.

Airflow 3.3 resumes a task as soon as it is answered. If the process that asked has not been accounted for by the
scheduler yet, the scheduler takes the resumed task for a lost one and tries it again: the answer is void, and the
question is asked once more (https://github.com/apache/airflow/issues/55053 and its kin). So an answer to a question
that is younger than `REST_S` waits until it is not; every other request passes unchanged.
"""

import asyncio
import re
from datetime import UTC, datetime
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from sim2edge_airflow import airflow_database as database

ANSWER = re.compile(r".*/api/v2/dags/([^/]+)/dagRuns/([^/]+)/taskInstances/([^/]+)/(-?[0-9]+)/hitlDetails/?")
REST_S = 10.0
"""Seconds from the question on in which the process that asked ends, and the scheduler learns of it."""


class AnswerGuard:
    """ASGI middleware around Airflow's API."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; an early answer once its time has come."""
        answer = ANSWER.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "PATCH" else None
        if answer:
            dag_id, run_id, task_id, map_index = map(unquote, answer.groups())
            asked = await run_in_threadpool(find_question, dag_id, run_id, task_id, int(map_index))
            await asyncio.sleep(seconds_to_wait(asked, datetime.now(UTC)))
        await self.app(scope, receive, send)


def find_question(dag_id: str, run_id: str, task_id: str, map_index: int) -> datetime | None:
    """Return when a task asked; None if it has not, or Airflow's database does not answer: Airflow says so itself."""
    try:
        with database.open_session() as session:
            return database.asked_at(session, dag_id, run_id, task_id, map_index)
    except Exception as error:
        if not database.is_database_error(error):
            raise
        return None


def seconds_to_wait(asked: datetime | None, now: datetime) -> float:
    """Return how long an answer has to wait, seconds."""
    return min(max(REST_S - (now - asked).total_seconds(), 0.0), REST_S) if asked else 0.0
