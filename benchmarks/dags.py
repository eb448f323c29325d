"""Measure how long Airflow takes to parse each DAG file: every task parses its own again before it starts.

Each file is parsed in a process forked from one that has imported Airflow, as the DAG processor does; the file's other
imports count.
"""

import json
import os
import statistics
import subprocess
from collections.abc import Iterator

from benchmarks.results import Result
from benchmarks.workplace import Workplace
from sim2edge.stack.settings import CHECKOUT

LIMIT_S = 0.3
ROUNDS = 5
CODE = """
import json, os, sys, time
from pathlib import Path
sys.path.append(sys.argv[1] + "/plugins")
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
for path in sorted(Path(sys.argv[1], "dags").glob("*.py")):
    if os.fork() == 0:
        start = time.perf_counter()
        errors = DagBag(str(path)).import_errors
        print(json.dumps([path.stem, time.perf_counter() - start, list(errors.values())]), flush=True)
        os._exit(0)
    os.wait()
"""


def measure(place: Workplace) -> Iterator[Result]:
    """Yield a result per DAG file: the median seconds of parsing it."""
    seconds: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, taken in read_files(place):
            seconds.setdefault(name, []).append(taken)
    for name, taken in seconds.items():
        yield Result(f"dags.{name}", statistics.median(taken), "s", "limit", LIMIT_S, most=1.0)


def read_files(place: Workplace) -> Iterator[tuple[str, float]]:
    """Yield each file's name and parse time in seconds, in a new Airflow home.

    Raises:
        RuntimeError: a file has an import error.
    """
    home = place.folder / "airflow"
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(CHECKOUT / "airflow.cfg"),
        "SIM2EDGE_ROOT": str(CHECKOUT),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    command = [str(CHECKOUT / ".venvs/airflow/bin/python"), "-c", CODE, str(CHECKOUT)]
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    for line in answer.stdout.splitlines():
        name, taken, errors = json.loads(line)
        if errors:
            raise RuntimeError(f"{name}: {errors[0]}")
        yield name, taken
