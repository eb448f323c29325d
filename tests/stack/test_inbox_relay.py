"""The relay between SeaweedFS and Airflow: it holds nobody up, keeps one event, and gives it until it is taken."""

import time
from collections.abc import Callable, Iterator

import pytest
from webhook_receiver import Receiver, receive_webhooks

from sim2edge.services.seaweedfs import Webhook
from sim2edge.stack import inbox_relay
from sim2edge.stack.inbox_relay import post, relayed

TOKEN = "a-token-for-airflow"
READY = "/buckets/fleet/inbox/farm.{}/READY.json"


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(inbox_relay, "FIRST_PAUSE_S", 0.05)
    with receive_webhooks() as running:
        yield running


@pytest.fixture
def hook(airflow: Receiver) -> Iterator[Webhook]:
    with relayed(Webhook(airflow.url, TOKEN)) as made:
        yield made


def tell(hook: Webhook, key: str) -> None:
    """As SeaweedFS does."""
    message = {"new_entry": {"chunks": [{"size": 2}], "extended": {"X-Amz-Meta-Note": "x" * 1000}}}
    assert post(hook, {"event_type": "create", "key": key, "message": message}) is None


def wait_for(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


def told(airflow: Receiver) -> list[str]:
    return [event["key"] for _, event in airflow.events]


def test_of_all_files_airflow_hears_of_the_last_one(hook: Webhook, airflow: Receiver) -> None:
    for number in range(20):
        tell(hook, f"/buckets/fleet/inbox/farm.1/{number}.mcap")
    tell(hook, READY.format(1))
    wait_for(lambda: bool(airflow.events))
    assert airflow.events == [(f"Bearer {TOKEN}", {"event_type": "create", "key": READY.format(1)})]


def test_while_airflow_hangs_nobody_waits_and_little_is_kept(hook: Webhook, airflow: Receiver) -> None:
    airflow.answers.clear()
    tell(hook, READY.format(0))
    wait_for(lambda: bool(airflow.events))
    began = time.monotonic()
    for number in range(1, 51):
        tell(hook, READY.format(number))
    assert time.monotonic() - began < 5, "a post waited for Airflow"
    airflow.answers.set()
    wait_for(lambda: len(airflow.events) > 1)
    tell(hook, READY.format(51))
    wait_for(lambda: len(airflow.events) > 2)
    assert told(airflow) == [READY.format(number) for number in (0, 1, 51)]


def test_airflow_is_told_until_it_listens(hook: Webhook, airflow: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    airflow.refusals[:] = [503, 401, 404, 500, 503]
    tell(hook, READY.format(1))
    wait_for(lambda: len(airflow.events) == 6)
    tell(hook, READY.format(2))
    wait_for(lambda: len(airflow.events) == 7)
    assert told(airflow) == [READY.format(1)] * 6 + [READY.format(2)]
    said = capsys.readouterr().out
    assert said.count("inbox webhook: HTTPError: HTTP Error 503") == said.count("\n") == 1
    assert TOKEN not in said


def test_it_ends_while_airflow_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_relay, "FIRST_PAUSE_S", 30.0)
    with relayed(Webhook("http://127.0.0.1:1/arrived", TOKEN)) as hook:
        tell(hook, READY.format(1))
        tell(hook, READY.format(2))
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert "refused" in str(post(hook, {})), "it still listens"


def test_another_token_is_not_let_in(hook: Webhook, airflow: Receiver) -> None:
    for token in (TOKEN, "", "é"):
        assert "401" in str(post(Webhook(hook.url, token), {"event_type": "create", "key": READY.format(1)}))
    tell(hook, READY.format(2))
    wait_for(lambda: bool(airflow.events))
    assert told(airflow) == [READY.format(2)]
