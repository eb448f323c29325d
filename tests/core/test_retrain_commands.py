"""`sim2edge retrain`: ask by hand or from a program, and see what was asked for."""

from datetime import UTC, datetime

import pytest

from sim2edge import cli, retrain
from sim2edge.bus import Bus
from sim2edge.retrain import Training, fulfil, open_requests, training_id


@pytest.fixture
def run(bus, monkeypatch, capfd):
    """`run(*words) -> (exit code, what it printed)`."""
    monkeypatch.setattr(Bus, "from_environment", classmethod(lambda cls: bus))

    def run_command(*words):
        code = cli.main(["retrain", *words])
        told = capfd.readouterr()
        return code, told.out + told.err

    return run_command


def asked(bus):
    return open_requests(bus, datetime.now(UTC)).requests


def test_a_request_with_evidence_is_put_once(run, bus):
    words = ["--kind", "drift", "--reason", "brightness is off", "--evidence", "device=pi-7", "--by", "monitor"]
    assert run(*words) == run(*words)
    (request,) = asked(bus)
    assert (request.kind, request.reason, request.by) == ("drift", "brightness is off", "monitor")
    assert request.evidence == {"device": "pi-7"}


def test_a_request_that_was_served_says_by_which_training(run, bus):
    words = ["--kind", "degradation", "--reason", "worse", "--evidence", "day=1"]
    run(*words)
    now = datetime.now(UTC)
    frames = ("frames/b/0123456789abcdef",)
    record = {"id": training_id("r", now), "started": now, "batch": "b", "settings": "0" * 16, "frames": frames}
    fulfil(bus, Training(**record, requests=tuple(asked(bus))))
    code, said = run(*words)
    assert code == 0
    assert f"was fulfilled by training {training_id('r', now)}" in said
    _, listed = run("--list")
    assert "degradation: worse" in listed


def test_a_person_needs_no_evidence_and_may_skip_the_cool_down(run, bus):
    code, _ = run("--reason", "new labels", "--now", "--set", "train.epochs=3", "--preset", "demo")
    (request,) = asked(bus)
    assert code == 0
    assert (request.kind, request.now, request.overrides) == ("manual", True, ("train.epochs=3",))


def test_the_list_shows_what_is_open_and_what_is_no_request(run, bus):
    run("--reason", "[bold]new[/] labels")
    bus.put(f"{retrain.OPEN}/junk.json", b"junk")
    code, said = run("--list")
    assert code == 0
    assert "[bold]new[/] labels" in said
    assert "invalid request: retrain/open/junk.json" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--reason is missing"),
        (["--kind", "drift", "--reason", "r"], "has no evidence"),
        (["--reason", "r", "--evidence", "x"], "--evidence 'x': expected key=value"),
        (["--reason", "r", "--evidence", "x=1", "--evidence", "x=2"], "each key once"),
        (["--reason", "r", "--set", "epochs=3"], "overrides.0: "),
        (["--reason", "r", "--set", "train.nonsense=3"], "train.nonsense: unknown key"),
        (["--reason", "r", "--set", "train.epochs=!!bool x"], "overrides.0: "),
        (["--reason", "r", "--preset", "../x"], "preset: "),
        (["--reason", "r", "--preset", "missing"], "preset 'missing' is not one of"),
        (["--reason", "two\nlines"], "reason: "),
        (["--kind", "drift", "--reason", "r", "--evidence", "a=b", "--now"], "now: only"),
    ],
)
def test_what_is_wrong_is_one_line_and_asks_for_nothing(run, bus, words, message):
    code, said = run(*words)
    assert code == 2
    assert message in said
    assert "Traceback" not in said
    assert asked(bus) == []
