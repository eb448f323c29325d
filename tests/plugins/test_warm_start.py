"""What is loaded before tasks are forked: what their DAG files need, nothing that holds a connection or a thread."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = f"""
import sys, threading
sys.path.append({str(ROOT / "plugins")!r})
from sim2edge_airflow.scheduling import warm_start
class Job: pass
warm_start.on_starting(object())
assert "sim2edge_airflow.operators.stage_operator" not in sys.modules, "a task's own process has no use for it"
warm_start.on_starting(Job())
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
