"""Notes of artifacts: names, stars, texts and archiving; two who write at once, and what is no note."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from benchmarks.made_up import fill
from obstore.store import MemoryStore

from sim2edge import cli
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Conflict, Corrupt, Missing
from sim2edge.notes import Change, apply, edit, note_key, parse_note, read_note, starred
from sim2edge.retention import KindPolicy, RetentionPolicy
from sim2edge.retire import survey

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=900)
ID = "0123456789abcdef"
MODEL = f"model/lab-1/{ID}"


@pytest.fixture
def bus():
    """A bucket with 12 batches and 6 trainings."""
    found = Bus(MemoryStore())
    fill(found, batches=12, trainings=6, devices=1)
    return found


@pytest.fixture
def model(bus):
    """The oldest model, which nothing needs any more."""
    return next(iter(bus.artifacts("model", "night-0001")))


def test_a_change_keeps_what_it_does_not_name_and_says_who_and_when():
    first = apply(None, MODEL, Change(name="best", star=True), "ann", NOW)
    second = apply(first, MODEL, Change(text="two\nlines", star=False), "bob", LATER)
    assert (second.name, second.star, second.text, second.by, second.at) == ("best", False, "two\nlines", "bob", LATER)
    assert apply(second, MODEL, Change(name="", text=""), "ann", NOW).says_nothing


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (Change(name="x" * 61), "name"),
        (Change(name="two\nlines"), "name"),
        (Change(name=" padded"), "name"),
        (Change(name="bell\x07"), "name"),
        (Change(text="x" * 2001), "text"),
        (Change(text="bell\x07"), "text"),
    ],
)
def test_a_field_that_is_too_long_or_not_printable_is_refused_by_name(change, field):
    with pytest.raises(BadInput, match=f"note: {field}:"):
        apply(None, MODEL, change, "ann", NOW)


def test_two_who_edit_at_once_both_count(bus, model, monkeypatch):
    put, others = Bus.put, [Change(name="best")]

    def put_after_another(self, key, data, **how):
        if others and key.startswith("notes/"):
            edit(self, model, others.pop(), "bob", NOW)
        return put(self, key, data, **how)

    monkeypatch.setattr(Bus, "put", put_after_another)
    note = edit(bus, model, Change(star=True), "ann", NOW)
    assert (note.name, note.star) == ("best", True)
    assert read_note(bus, model)[0] == note


def test_who_never_gets_his_turn_is_told(bus, model, monkeypatch):
    def refuse(*_, **__):
        raise Conflict("changed by another writer")

    monkeypatch.setattr(Bus, "put", refuse)
    with pytest.raises(Conflict):
        edit(bus, model, Change(star=True), "ann", NOW)


def test_only_what_exists_has_a_note(bus):
    with pytest.raises(Missing):
        edit(bus, MODEL, Change(star=True), "ann", NOW)
    with pytest.raises(BadInput):
        note_key("../../secrets")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"x" * 20_000,
        json.dumps({"reference": MODEL, "by": "ann", "at": "2026-05-01T12:00:00+00:00", "more": 1}).encode(),
        json.dumps({"reference": f"model/lab-2/{ID}", "by": "ann", "at": "2026-05-01T12:00:00+00:00"}).encode(),
        json.dumps({"reference": MODEL, "by": "ann", "at": "2026-05-01T12:00:00"}).encode(),
    ],
)
def test_what_is_no_note_of_the_artifact_is_corrupt(content):
    with pytest.raises(Corrupt, match=f"notes/model/lab-1/{ID}.json"):
        parse_note(content, MODEL)


def test_retention_keeps_what_is_starred_with_its_inputs_and_what_cannot_be_read(bus, model):
    policy = RetentionPolicy(kinds={kind: KindPolicy(days=1) for kind in ("model", "dataset", "release")})
    doomed = {removal.reference for removal in survey(bus, LATER).choose(policy, LATER)}
    dataset = bus.open(model).inputs["dataset"][0]
    other = next(iter(bus.artifacts("model", "night-0003")))
    assert {model, dataset, other} <= doomed
    edit(bus, model, Change(star=True, archived=True), "ann", NOW)
    bus.put(note_key(other), b"broken")
    bus.put("notes/not/a-note.json", b"{}")
    assert set(starred(bus)) == {model, other}
    now = {removal.reference for removal in survey(bus, LATER).choose(policy, LATER)}
    assert not {model, dataset, other} & now
    bus.put(note_key(other), apply(None, other, Change(archived=True), "ann", NOW).to_json())
    assert other in {removal.reference for removal in survey(bus, LATER).choose(policy, LATER)}


def test_the_command_writes_and_prints_a_note(bus, model, monkeypatch, capsys):
    monkeypatch.setattr(Bus, "from_environment", staticmethod(lambda *_: bus))
    assert cli.main(["note", model]) == 0
    assert capsys.readouterr().out == f"{model}: no note\n"
    assert cli.main(["note", model, "--name", "best so far", "--star", "--text", "a\nb", "--by", "ann"]) == 0
    assert cli.main(["note", model, "--no-star", "--archive", "--by", "bob"]) == 0
    capsys.readouterr()
    assert cli.main(["note", model]) == 0
    assert capsys.readouterr().out.startswith(f"{model}: 'best so far', archived (bob, ")
    assert cli.main(["note", model, "--restore", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["archived"] is False


@pytest.mark.parametrize("words", [["--name", "x" * 61], ["--star", "--archive", "--restore"]])
def test_wrong_words_are_one_line(bus, model, monkeypatch, capsys, words):
    monkeypatch.setattr(Bus, "from_environment", staticmethod(lambda *_: bus))
    try:
        code = cli.main(["note", model, *words])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert "Traceback" not in capsys.readouterr().err
