"""Show a pipeline while it runs: a live table on a terminal, a line for each change elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sim2edge.follow.stages import StageState

COLOURS = {"success": "green", "failed": "red", "skipped": "yellow", "running": "cyan"}
SECONDS_BETWEEN_PROGRESS_LINES = 10.0


def make_table(states: list[StageState]) -> Table:
    """Return a row for each stage: its state, its seconds, and its latest progress or its artifact."""
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "state", "seconds", "progress"):
        table.add_column(column, no_wrap=True, justify="right" if column == "seconds" else "left")
    for state in states:
        colour = COLOURS.get(state.state, "default")
        seconds = f"{state.seconds:.1f}" if state.seconds is not None else ""
        table.add_row(state.stage, f"[{colour}]{state.state}[/]", seconds, state.reference or state.detail)
    return table


class PipelineView:
    """Shows the states of the stages as they change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._shown: dict[str, StageState] = {}
        self._last_progress = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, states: list[StageState]) -> None:
        """Update the display."""
        if self._live:
            self._live.update(make_table(states), refresh=True)
            return
        for state in states:
            if self._is_news(state):
                words = (state.stage, state.state, state.reference or state.detail)
                self._console.print(f"{words[0]:<9} {words[1]:<9} {words[2]}".rstrip(), soft_wrap=True)
            self._shown[state.stage] = state

    def _is_news(self, state: StageState) -> bool:
        before = self._shown.get(state.stage)
        if before is None or state.state == "pending":
            return False
        if before.state != state.state:
            return True
        due = time.monotonic() - self._last_progress > SECONDS_BETWEEN_PROGRESS_LINES
        if due and state.detail != before.detail:
            self._last_progress = time.monotonic()
            return True
        return False
