"""`sim2edge ota` as services use it: waits for the bucket, signs again and again."""

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


class Signer:
    """A repository that fails at times, and ends the loop by an error of the test's own."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)

    def refresh(self, targets):
        if not self.outcomes:
            raise KeyboardInterrupt
        if outcome := self.outcomes.pop(0):
            raise outcome

    def current(self):
        raise Unavailable("signed, but the answer was lost")


def arguments(every):
    return commands.argparse.Namespace(targets=False, every=every)


def test_signing_goes_on_and_is_tried_again_soon_after_a_failure(no_pauses, capsys):
    with pytest.raises(KeyboardInterrupt):
        commands.refresh(Signer(Unavailable("S3 is away"), None), arguments(21600))
    assert no_pauses == [commands.SECONDS_AFTER_FAILURE] * 2
    assert "not signed, will retry soon: S3 is away" in capsys.readouterr().out


def test_signing_once_fails_when_it_fails():
    with pytest.raises(Unavailable):
        commands.refresh(Signer(Unavailable("S3 is away")), arguments(None))
