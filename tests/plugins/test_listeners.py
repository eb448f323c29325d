"""What the listeners do: Airflow's processes start warm, and a run of a training notes its reasons."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from sim2edge_airflow.scheduling import listeners
from sim2edge_airflow.scheduling.listeners import MAX_NOTE, make_note

TRAINING = "20260504t120000-01234567"


def run(*extras, note=None):
    return SimpleNamespace(
        consumed_asset_events=[SimpleNamespace(asset=None, extra=extra) for extra in extras], note=note
    )


def test_ten_reasons_are_all_there():
    reasons = [f"drift: reason number {n} (monitor)" for n in range(10)]
    found = run({"training": TRAINING, "reasons": reasons})
    listeners.on_dag_run_running(found, "started")
    assert found.note == f"Training {TRAINING}:" + "".join(f"\n- {reason}" for reason in reasons)


def test_two_trainings_of_one_run_are_both_named():
    other = {"training": "20260504t120100-01234567", "reasons": ["manual: b (c)"]}
    note = make_note([{"training": TRAINING, "reasons": ["data: a (d)"]}, other])
    assert all(part in note for part in (TRAINING, other["training"], "- data: a (d)", "- manual: b (c)"))


def test_other_runs_and_notes_that_somebody_wrote_are_left_alone():
    for found in (run(), run({"reference": "frames/b/1"}), run(None)):
        listeners.on_dag_run_running(found, "started")
        assert found.note is None
    written = run({"training": TRAINING, "reasons": ["data: a (d)"]}, note="mine")
    listeners.on_dag_run_running(written, "started")
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


ROOT = Path(__file__).parents[2]
CODE = f"""
import sys, threading
sys.path.append({str(ROOT / "plugins")!r})
from sim2edge_airflow.scheduling import listeners
class Job: pass
listeners.on_starting(object())
assert "sim2edge_airflow.operators.stage_operator" not in sys.modules, "a task's own process has no use for it"
listeners.on_starting(Job())
before = set(sys.modules)
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({str(ROOT / "dags")!r})
assert not bag.import_errors, bag.import_errors
new = [name for name in set(sys.modules) - before if name.split(".")[0] in ("sim2edge", "obstore", "pydantic")]
print(threading.active_count(), sorted(new))
"""


def test_the_dag_files_find_the_light_core_loaded_and_no_thread_was_started():
    answer = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert answer.stdout.splitlines()[-1:] == ["1 []"], answer.stderr[-2000:] + answer.stdout[-500:]
