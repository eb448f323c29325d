"""A stage of somebody else's package, in Airflow: the operator makes it, within its limits, and pages show it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from new_stage import commit_frames, lay_out_foreign

TASK = """
import json, sys
from datetime import timedelta
sys.path[:0] = {tests!r}
sys.path.append({pytest!r})  # in an image it is beside the packages
from airflow.sdk.bases.operator import ExecutorSafeguard
ExecutorSafeguard.test_mode = True
from test_stage_operator import Task
from sim2edge.bus import Bus
from sim2edge.catalog import Catalog
from sim2edge_airflow.pages import flywheel_grid, lineage_graph, run_states
from sim2edge_airflow.pages.artifact_page import find_report
made, _ = Task({partition!r}).run("heat")
again, operator = Task({partition!r}).run("heat")
bus = Bus.from_environment()
catalog, index = Catalog(bus), flywheel_grid.GridIndex()
catalog.refresh()
index.update(catalog)
(row,) = flywheel_grid.make_rows(index, catalog, [{partition!r}], {{}})
facts = {{
    "same": made == again, "outcome": operator.outcome, "reference": made,
    "cell": [row.cells["heat"].state, row.cells["heat"].quality], "columns": list(row.cells),
    "lineage": lineage_graph.COLUMNS.index("heatmap"), "task": run_states.STAGE_OF_TASK["heat"],
    "report": find_report(bus.open(made)),
}}
print("FACTS " + json.dumps(facts))
"""


@pytest.fixture
def interpreter(tmp_path):
    """The stages' interpreter, which has the package; and the folder that it is in."""
    site = lay_out_foreign(tmp_path / "package")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python, site


def test_the_operator_runs_it_and_the_pages_show_it(s3, partition, tmp_path, interpreter):
    commit_frames(s3, partition, tmp_path / "frames")
    python, site = interpreter
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "demo.yaml").write_text("heat: {cells: 4}\n")
    here = Path(__file__).parent
    environment = os.environ | {
        "SIM2EDGE_STAGE_PYTHON": str(python),
        "SIM2EDGE_CONF": str(conf),
        "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
    }
    beside = str(Path(pytest.__file__).parents[1])
    task = TASK.format(tests=[str(here), str(here.parent)], pytest=beside, partition=partition)
    done = subprocess.run(
        [sys.executable, "-c", task], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("FACTS "))
    facts = json.loads(line.removeprefix("FACTS "))
    assert facts["same"]
    assert facts["outcome"].startswith("cached: saved")
    assert s3.open(facts["reference"]).config == {"cells": 4}
    assert facts["cell"] == ["committed", "hottest 2"]
    assert facts["columns"][2:4] == ["augment", "heat"]
    assert (facts["task"], facts["report"]) == ("heat", "heat.json")
