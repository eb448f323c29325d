"""Summarize the pipeline at its end: one dictionary, written as JSON and printed as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sim2edge.follow.stages import StageState
from sim2edge.manifest import Manifest
from sim2edge.services.role_files import Login


def summarize_stages(
    states: Sequence[StageState], manifests: Mapping[str, Manifest], started: float
) -> list[dict[str, Any]]:
    """Return an entry for each stage: the task's state in Airflow and the artifact's manifest.

    Args:
        states: the final states of the stages.
        manifests: stage name to the artifact's manifest, for stages with an artifact.
        started: Unix time of the trigger: an artifact finished before it was cached.
    """
    entries = []
    for state in states:
        manifest = manifests.get(state.stage)
        cached = manifest is not None and manifest.finished.timestamp() < started
        entries.append(
            {
                "stage": state.stage,
                "state": state.state,
                "seconds": round(state.seconds, 1) if state.seconds is not None else None,
                "result": "cached" if cached else "run" if manifest else "none",
                "artifact": manifest.reference if manifest else None,
                "work_s": manifest.cost.work_s if manifest else None,
                "megabytes": round(manifest.size / 1e6, 2) if manifest else None,
                "summary": manifest.summary if manifest else None,
            }
        )
    return entries


def print_summary(
    console: Console,
    report: Mapping[str, Any],
    logins: Mapping[str, Login],
    command: str = "sim2edge status --logins",
) -> None:
    """Print the report; passwords only on a terminal, elsewhere the command that prints them."""
    console.print()
    console.print(_stage_table(report["stages"]))
    console.print()
    for name, text in report["highlights"].items():
        console.print(f"[bold]{name:<9}[/] {text}", soft_wrap=True)
    console.print()
    for name, login in logins.items():
        words = f"{login.user} / {login.password}" if console.is_terminal else command
        console.print(f"{name:<9} {login.url}   {words}", soft_wrap=True, markup=False)


def _stage_table(stages: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "state", "seconds", "result", "MB", "artifact"):
        table.add_column(column, no_wrap=True, justify="right" if column in ("seconds", "MB") else "left")
    for stage in stages:
        cells = (
            stage["stage"],
            stage["state"],
            stage["seconds"],
            stage["result"],
            stage["megabytes"],
            stage["artifact"],
        )
        table.add_row(*("" if cell is None else str(cell) for cell in cells))
    return table
