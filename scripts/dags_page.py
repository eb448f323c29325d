"""Write docs/dags.md from the DAGs: `make docs`, or `.venvs/airflow/bin/python scripts/dags_page.py [--check]`.

The page contains what Airflow parses: schedules, assets, params, tasks with their limits, runbooks. A test compares the
page with the DAGs.
"""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "dags.md"
ORDER = (
    "sim_capture",
    "watch_inbox",
    "ingest_batch",
    "annotate_batch",
    "data_cleaning",
    "retrain",
    "train_model",
    "release_model",
)
"""Order along the chain; other DAGs follow by name."""
OPENING = """# The DAGs

Written by `make docs` from the files in `dags/`: edit those. Rounded boxes are assets: updating one starts the next
DAG. A dotted line is a hint, which only wakes a DAG.
"""


def read_dags() -> dict[str, Any]:
    """Return every DAG, those for containers included, with the settings of `airflow.cfg` and a clean environment."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "SIM2EDGE_", "AWS_"))]:
        del os.environ[name]
    os.environ.update(
        AIRFLOW_HOME=tempfile.mkdtemp(prefix="dags-page-"),
        AIRFLOW_CONFIG=str(ROOT / "airflow.cfg"),
        SIM2EDGE_ROOT=str(ROOT),
        AIRFLOW__SIM2EDGE__RUNTIME="docker",
        AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
    )
    sys.path.append(str(ROOT / "plugins"))
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "dags"))
    if bag.import_errors:
        raise SystemExit("\n".join(f"dags_page: {path}: {error}" for path, error in bag.import_errors.items()))
    return dict(bag.dags)


def render(dags: Mapping[str, Any]) -> str:
    """Return the page."""
    place = {dag_id: number for number, dag_id in enumerate(ORDER)}
    ordered = sorted(dags.values(), key=lambda dag: (place.get(dag.dag_id, len(ORDER)), dag.dag_id))
    parts = [OPENING, picture(ordered), *(describe(dag) for dag in ordered)]
    return "\n".join(parts)


def picture(dags: Iterable[Any]) -> str:
    """Return a Mermaid flowchart of the DAGs and the assets between them."""
    lines = ["```mermaid", "flowchart LR"]
    for dag in dags:
        lines.append(f'    {dag.dag_id}["<b>{dag.dag_id}</b><br>{" → ".join(task_names(dag))}"]')
        lines += [f"    {asset}([{asset}]) {arrow} {dag.dag_id}" for asset, arrow in starts(dag)]
        lines += [f"    {dag.dag_id} --> {asset}([{asset}])" for asset in makes(dag)]
    return "\n".join([*lines, "```", ""])


def starts(dag: Any) -> Iterator[tuple[str, str]]:
    """Yield the assets that start a DAG, each with its arrow: solid if partitioned, dotted for a hint."""
    arrow = "-->" if type(dag.timetable).__name__.startswith("Partitioned") else "-.->"
    for asset in assets_in(getattr(dag.timetable, "asset_condition", None)):
        yield asset.name, arrow


def assets_in(condition: Any) -> list[Any]:
    """Return the assets that a condition names; empty without a condition, or if it names none."""
    if hasattr(condition, "objects"):
        return [asset for part in condition.objects for asset in assets_in(part)]
    return [condition] if hasattr(condition, "name") else []


def makes(dag: Any) -> list[str]:
    """Return the assets that a DAG's tasks update, in their order."""
    return list(dict.fromkeys(asset.name for task in dag.topological_sort() for asset in task.outlets))


def task_names(dag: Any) -> list[str]:
    """Return the tasks in their order."""
    return [task.task_id for task in dag.topological_sort()]


def describe(dag: Any) -> str:
    """Return the section of a DAG: facts, tasks, runbook."""
    from sim2edge_airflow.alerts.report import owner

    facts = {
        "starts": schedule(dag),
        "updates": ", ".join(f"`{asset}`" for asset in makes(dag)) or "no asset",
        "params": params(dag) or "none",
        "active runs": f"at most {dag.max_active_runs}",
        "late": f"{span(dag.deadline[0].interval)} after it was queued" if dag.deadline else "never",
        "owner": owner(dag.doc_md),
        "tags": ", ".join(sorted(dag.tags)),
    }
    heading, _, rest = dag.doc_md.strip().partition("\n")
    runbook = "\n".join(line for line in rest.strip().splitlines() if not line.startswith("Owner:")).rstrip()
    table = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
    return "\n".join([f"## {heading.removeprefix('### ')}", "", *table, "", *tasks(dag), "", runbook, ""])


def schedule(dag: Any) -> str:
    """Return the schedule of a DAG, in words."""
    names = [f"`{asset}`" for asset, _ in starts(dag)]
    clock = getattr(dag.timetable, "timetable", None if names else dag.timetable)
    cron = getattr(clock, "expression", None) or getattr(clock, "summary", "")
    times = [f"cron `{cron}`" if "*" in cron else cron] if cron else []
    return "; ".join([*times, *(f"on {name}" for name in names)]) or "by hand"


def params(dag: Any) -> str:
    """Return the params with their descriptions."""
    found = []
    for name in dag.params:
        param = dag.params.get_param(name)
        found.append(f"`{name}`: {param.description or param.schema.get('description_md', '')}")
    return "<br>".join(found)


def tasks(dag: Any) -> list[str]:
    """Return a table of the tasks."""
    lines = ["| task | description | timeout | retries | pool (slots) |", "|---|---|---|---|---|"]
    for task in dag.topological_sort():
        does = " ".join((task.doc_md or "").split())
        limits = (span(task.execution_timeout), str(task.retries), f"{task.pool} ({task.pool_slots})")
        lines.append(f"| {' | '.join([f'`{task.task_id}`', does, *limits])} |")
    return lines


def span(time: timedelta) -> str:
    """Return a duration in hours or minutes."""
    minutes = time.total_seconds() / 60
    return f"{minutes / 60:g} h" if minutes >= 60 else f"{minutes:g} min"


def main(argv: list[str]) -> int:
    """Write the page; with `--check` only report whether it is current, and return 0 if so, else 1."""
    page, name = render(read_dags()), PAGE.relative_to(ROOT)
    if argv != ["--check"]:
        PAGE.write_text(page, encoding="utf-8")
        print(f"{name}: written")
        return 0
    current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page
    print(f"{name}: current" if current else f"{name}: outdated: run `make docs`")
    return 0 if current else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
