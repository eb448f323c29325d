"""`sim2edge ota` as services use it: waits for the bucket."""

import pytest

from sim2edge.errors import BadInput, Unavailable
from sim2edge.push import commands


class Bucket:
    """A bucket that is there after so many tries."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def list(self, prefix):
        if self.errors:
            raise self.errors.pop(0)
        return iter(())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(commands.time, "sleep", pauses.append)
    return pauses


def test_waiting_ends_when_the_bucket_is_there_and_says_each_reason_once(capsys):
    bucket = Bucket(Unavailable("no answer"), Unavailable("no answer"), BadInput("no such bucket"))
    commands.wait_for_bucket(bucket, 60)
    assert capsys.readouterr().out.splitlines() == [
        "waiting for the bucket: no answer",
        "waiting for the bucket: no such bucket",
    ]


def test_waiting_in_vain_ends_with_the_last_reason(monkeypatch):
    clock = iter(range(0, 1000, 30))
    monkeypatch.setattr(commands.time, "monotonic", lambda: next(clock))
    with pytest.raises(BadInput, match="no such bucket"):
        commands.wait_for_bucket(Bucket(*[BadInput("no such bucket")] * 50), 100)
