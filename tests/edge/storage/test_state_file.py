"""The two copies of the state: what survives damage to one, and what is noticed."""

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.edge.judgement.trial import Ban, Installed, Rest, State, Trial
from sim2edge.edge.storage import state_file
from sim2edge.edge.storage.state_file import NAMES, StateFile, decode, decode_earlier, encode

texts = st.text(max_size=20)
installed = st.builds(Installed, texts, texts, st.integers(0, 2**40))
times = st.floats(0, 2**40)


@st.composite
def states(draw: st.DrawFn) -> State:
    """Any state whose parts agree."""
    slots = draw(st.dictionaries(st.sampled_from(["a", "b"]), installed))
    proven = draw(st.sets(st.sampled_from(sorted(slots)))) if slots else set()
    active = draw(st.sampled_from([None, *sorted(proven)]))
    free = [slot for slot in slots if slot not in proven]
    on_trial = draw(st.sampled_from([None, *free]))
    number = draw(st.integers(0, 1000))
    return State(
        slots=slots,
        proven=frozenset(proven),
        active=active,
        trial=Trial(on_trial, number, 1, 2, 3) if on_trial else None,
        bans=tuple(draw(st.lists(st.builds(Ban, installed, texts, times, st.integers(1, 9)), max_size=3))),
        rests=tuple(draw(st.lists(st.builds(Rest, installed, texts, times, st.integers(1, 9)), max_size=3))),
        trials=number,
    )


@given(states(), st.integers(0, 2**40))
def test_what_was_written_is_read(state, counter):
    assert decode(encode(counter, state)) == (counter, state)


@given(states(), st.data())
def test_no_flipped_bit_goes_unnoticed(state, data):
    stored = bytearray(encode(7, state))
    at = data.draw(st.integers(0, len(stored) - 1))
    stored[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert decode(bytes(stored)) == (7, state)  # white space between the fields, or another way to write a letter
    except ValueError:
        return


@given(st.binary(max_size=200) | st.recursive(st.none() | texts, st.lists).map(lambda each: json.dumps(each).encode()))
def test_anything_else_is_no_state(data):
    for parse in (decode, decode_earlier):
        with pytest.raises(ValueError, match="not a state"):
            parse(data)


R1, R2 = (State(slots={"a": Installed(name, name)}, active="a", proven=frozenset("a")) for name in ("r1", "r2"))


def store_with(home, *written: State) -> None:
    store = StateFile(home)
    for state in written:
        store.write(state)


@pytest.mark.parametrize("newer", [0, 1])
def test_the_newest_copy_counts_and_the_older_one_is_replaced(tmp_path, newer):
    (tmp_path / NAMES[newer]).write_bytes(encode(8, R2))
    (tmp_path / NAMES[1 - newer]).write_bytes(encode(7, R1))
    store = StateFile(tmp_path)
    assert store.read() == R2
    store.keep(R2)
    assert [decode((tmp_path / name).read_bytes()) for name in NAMES] == [(8, R2), (8, R2)]
    store.write(R1)
    assert [decode((tmp_path / name).read_bytes()) for name in NAMES] == [(9, R1), (9, R1)]


def test_the_copy_that_is_behind_is_written_first(tmp_path, monkeypatch):
    store_with(tmp_path, R1)
    written = []

    def note(path, data: bytes) -> None:
        written.append(path.name)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(state_file, "write_durably", note)
    (tmp_path / NAMES[1]).write_bytes(encode(0, R2))
    store = StateFile(tmp_path)
    store.read()
    with pytest.raises(OSError, match="Input/output error"):
        store.write(R2)
    assert written == [NAMES[1]]


@pytest.mark.parametrize("damage", ["cut", "missing", "folder", "huge", "zeros"])
@pytest.mark.parametrize("name", NAMES)
def test_one_damaged_copy_costs_nothing_and_is_written_again(tmp_path, name, damage):
    store_with(tmp_path, R1, R2)
    path = tmp_path / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "huge":
        path.touch()
        with path.open("r+b") as file:
            file.truncate(2**40)
    elif damage != "missing":
        path.write_bytes(whole[:-5] if damage == "cut" else bytes(len(whole)))
    store = StateFile(tmp_path)
    assert store.read() == R2
    store.keep(R2)
    for each in NAMES:
        assert decode((tmp_path / each).read_bytes())[1] == R2


def test_both_copies_that_are_lost_while_the_agent_runs_are_written_again(tmp_path):
    store = StateFile(tmp_path)
    store.write(R1)
    store.write(R2)
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"?")):
        for name in NAMES:
            damage(tmp_path / name)
        store.keep(R2)
        assert [decode((tmp_path / name).read_bytes())[1] for name in NAMES] == [R2, R2]


def test_the_newer_copy_is_not_replaced_by_the_older_one(tmp_path):
    store = StateFile(tmp_path)
    store.write(R1)
    older = (tmp_path / NAMES[0]).read_bytes()
    store.write(R2)
    (tmp_path / NAMES[0]).write_bytes(b"?")
    (tmp_path / NAMES[1]).write_bytes(older)
    store.keep(R2)
    assert StateFile(tmp_path).read() == R2


def test_both_copies_lost(tmp_path):
    store_with(tmp_path, R1, R2)
    for name in NAMES:
        (tmp_path / name).write_bytes(b"?")
    assert StateFile(tmp_path).read() is None


def test_the_state_of_an_earlier_agent_is_read_once(tmp_path):
    earlier = {
        "slots": {"a": {"release": "r1", "sha256": "11"}, "b": {"release": "r2", "sha256": "22"}},
        "active": "a",
        "trial": {"slot": "b", "attempts": 2},
        "failures": [{"release": "r0", "sha256": "00", "reason": "no camera"}],
    }
    (tmp_path / "state.json").write_text(json.dumps(earlier))
    store = StateFile(tmp_path)
    assert store.read() is None
    state = store.read_earlier()
    assert state == State(
        slots={"a": Installed("r1", "11"), "b": Installed("r2", "22")},
        proven=frozenset("a"),
        active="a",
        trial=Trial("b", number=1),
        trials=1,
    )
    store.write(state)
    assert not (tmp_path / "state.json").exists()
    (tmp_path / "state.json").write_text(json.dumps(earlier))
    assert StateFile(tmp_path).read_earlier() is None
