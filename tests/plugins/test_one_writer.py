"""One change at a time, and reads beside it."""

import asyncio

import pytest

from sim2edge_airflow.pages.one_writer import OneWriter, is_needed


class Busy:
    """An application that notes how many requests are in it."""

    def __init__(self) -> None:
        self.inside = self.most = 0

    async def __call__(self, scope, receive, send) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.01)
        self.inside -= 1
        if scope["path"] == "/broken":
            raise ValueError("broken")


def ask(*requests: tuple[str, str]) -> tuple[int, list[object]]:
    """Send requests at once; the most that were in the application together, and how each ended."""
    busy = Busy()
    guard = OneWriter(busy)

    async def all_at_once() -> list[object]:
        scopes = [{"type": "http", "method": method, "path": path} for method, path in requests]
        return await asyncio.gather(*(guard(scope, None, None) for scope in scopes), return_exceptions=True)

    ends = asyncio.run(all_at_once())
    return busy.most, ends


def test_changes_come_one_after_another():
    assert ask(("POST", "/api/v2/dags/x/dagRuns"), ("PUT", "/execution/store"), ("PATCH", "/execution/t/state"))[0] == 1


def test_what_reads_waits_for_nobody():
    assert ask(*[("GET", "/api/v2/dags")] * 5, ("POST", "/api/v2/backfills"))[0] == 6


def test_our_own_pages_wait_for_nobody():
    assert ask(("POST", "/sim2edge/actions"), ("POST", "/sim2edge/actions"))[0] == 2


def test_a_request_that_breaks_gives_its_turn_away():
    most, ends = ask(("POST", "/broken"), ("POST", "/api/v2/backfills"))
    assert most == 1
    assert isinstance(ends[0], ValueError)
    assert ends[1] is None


@pytest.mark.parametrize(
    ("connection", "needed"), [("sqlite:////a/airflow.db?timeout=30", True), ("postgresql+psycopg2://a@b/c", False)]
)
def test_only_sqlite_needs_it(connection, needed):
    assert is_needed(connection) is needed
