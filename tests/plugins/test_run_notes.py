"""The note of a run names every reason, whatever they are, within what the database takes."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from sim2edge_airflow.scheduling import run_notes
from sim2edge_airflow.scheduling.run_notes import MAX_NOTE, make_note

TRAINING = "20260504t120000-01234567"


def run(*extras, note=None):
    return SimpleNamespace(
        consumed_asset_events=[SimpleNamespace(asset=None, extra=extra) for extra in extras], note=note
    )


def test_ten_reasons_are_all_there():
    reasons = [f"drift: reason number {n} (monitor)" for n in range(10)]
    found = run({"training": TRAINING, "reasons": reasons})
    run_notes.on_dag_run_running(found, "started")
    assert found.note == f"Training {TRAINING}:" + "".join(f"\n- {reason}" for reason in reasons)


def test_two_trainings_of_one_run_are_both_named():
    other = {"training": "20260504t120100-01234567", "reasons": ["manual: b (c)"]}
    note = make_note([{"training": TRAINING, "reasons": ["data: a (d)"]}, other])
    assert all(part in note for part in (TRAINING, other["training"], "- data: a (d)", "- manual: b (c)"))


def test_other_runs_and_notes_that_somebody_wrote_are_left_alone():
    for found in (run(), run({"reference": "frames/b/1"}), run(None)):
        run_notes.on_dag_run_running(found, "started")
        assert found.note is None
    written = run({"training": TRAINING, "reasons": ["data: a (d)"]}, note="mine")
    run_notes.on_dag_run_running(written, "started")
    assert written.note == "mine"


def test_what_there_is_no_room_for_is_counted():
    note = make_note([{"training": TRAINING, "reasons": [f"data: batch {n:03} (data_cleaning)" for n in range(100)]}])
    shown = note.count("\n- data: ")
    assert shown > 15
    assert note.endswith(f"\n- and {100 - shown} more: see retrain/trainings/ on S3")


@given(st.lists(st.text(max_size=400), max_size=80), st.text(max_size=300))
@settings(max_examples=150, deadline=None)
def test_it_always_fits(reasons, training):
    note = make_note([{"training": training, "reasons": reasons}])
    assert len(note) <= MAX_NOTE
    assert note.count("\n- ") <= len(reasons) + 1
