"""Print for the reader: a stage's progress as a bar or JSON lines; tables and trees for a terminal or a pipe."""

import json
import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 0.5


def emit(event: str, **fields: Any) -> None:
    """Print one JSON event on a line of its own."""
    print(json.dumps({"event": event, **fields}, default=str), flush=True)


class JsonProgress:
    """Prints progress as JSON lines, at most two a second; the last update is always printed."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, done: int, total: int, **metrics: float | int | str) -> None:
        """See `sim2edge.stage.Progress`."""
        now = time.monotonic()
        if done >= total or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            emit("progress", stage=self._stage, done=done, total=total, **metrics)

    def log(self, message: str, **fields: object) -> None:
        """See `sim2edge.stage.Progress`."""
        emit("log", stage=self._stage, message=message, **fields)


class BarProgress:
    """Shows a progress bar with the latest metrics."""

    def __init__(self, stage: str, console: Console | None = None) -> None:
        columns = (
            TextColumn("{task.description:9}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[metrics]}"),
        )
        self._bar = Progress(*columns, console=console or Console())
        self._task = self._bar.add_task(stage, total=None, metrics="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, done: int, total: int, **metrics: float | int | str) -> None:
        """See `sim2edge.stage.Progress`."""
        shown = "  ".join(f"{name} {format_metric(value)}" for name, value in metrics.items())
        self._bar.update(self._task, completed=done, total=total, metrics=shown)

    def log(self, message: str, **fields: object) -> None:
        """See `sim2edge.stage.Progress`."""
        detail = "  ".join(f"{name}={value}" for name, value in fields.items())
        self._bar.console.print(f"{message} {detail}".rstrip(), markup=False, highlight=False)


def format_metric(value: float | int | str) -> str:
    """Format a metric: floats with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def make_progress(stage: str) -> JsonProgress | BarProgress:
    """Return the bar on a terminal, JSON lines elsewhere."""
    return BarProgress(stage) if sys.stdout.isatty() else JsonProgress(stage)


PATIENCE_S = 10.0
"""Seconds after which an interactive command gives up a request."""
WIDE = 100_000
"""Columns of a line that is not wrapped: programs read piped output line by line."""


def print_whole(what: RenderableType) -> None:
    """Print a table or a tree: as wide as the terminal, or unwrapped where output is no terminal."""
    width = None if sys.stdout.isatty() else WIDE
    console = Console(markup=False, emoji=False, width=width)  # what stages wrote is printed as it is
    with console.capture() as captured:
        console.print(what)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
