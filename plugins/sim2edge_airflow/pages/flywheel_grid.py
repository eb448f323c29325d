"""Compute the grid of batches x stages: each stage's result for each batch. Pure: records and runs in, rows out.

rows = filter_rows(index.rows(), text="demo", state="refused", stage="validate")
fill(rows[:100], runs)
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sim2edge.catalog import Catalog, Record, headline
from sim2edge.stages import chain
from sim2edge_airflow.pages.model_standing import Standing
from sim2edge_airflow.pages.page_words import duration, size

if TYPE_CHECKING:
    from sim2edge_airflow.pages.run_states import StageRun

STAGE_OF = {stage.produces: stage.name for stage in chain()}
"""Kind to the stage whose column shows it."""
TRAINED_ON = ("capture", "clean", "augment", "train", "validate")
"""Stages whose failure is over for a batch once a later dataset contains it."""
STATES = ("committed", "cached", "running", "refused", "failed", "missing")
LIVE_STATES = ("running", "failed")
"""States that only Airflow's database has."""
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
RUNNING = ("running", "queued", "scheduled", "up_for_retry", "up_for_reschedule", "deferred", "restarting")


@dataclass
class Cell:
    """One stage of one batch."""

    state: str = "missing"
    record: Record | None = None
    quality: str = ""
    """The headline quality figure."""
    cost: str = ""
    """Time and size."""
    note: str = ""
    """Further detail: the rule that refused, Airflow's name of a state."""
    run: "StageRun | None" = None
    elsewhere: Record | None = None
    """The dataset that contains the batch, if the batch's own run did not get that far."""
    standing: Standing | None = None
    """How the model of the cell stands."""


@dataclass
class Row:
    """One batch."""

    batch: str
    newest: datetime
    cells: dict[str, Cell] = field(default_factory=lambda: {stage: Cell() for stage in STAGE_OF.values()})

    @property
    def drives(self) -> Record | None:
        """The episodes of the batch."""
        return self.cells[STAGE_OF["episodes"]].record

    @property
    def run(self) -> "StageRun | None":
        """The run to open first: one with a failed stage, else a running one, else the newest."""
        runs = [
            (self._urgency(cell), cell.run.started or LONG_AGO, cell.run) for cell in self.cells.values() if cell.run
        ]
        return max(runs, key=lambda each: each[:2], default=(0, LONG_AGO, None))[2]

    @staticmethod
    def _urgency(cell: Cell) -> int:
        return {"failed": 2, "running": 1}.get(cell.state, 0)

    def shows(self, state: str, stage: str) -> bool:
        """Return whether a cell, or that of the given stage, is in a state."""
        return any(cell.state == state for name, cell in self.cells.items() if stage in ("", name))


class GridIndex:
    """The rows of a catalog without runs, recomputed only when the catalog changed."""

    def __init__(self) -> None:
        self._known: tuple[Catalog | None, int] = (None, -1)
        self._newest: dict[str, dict[str, Record]] = {}
        self._order: list[tuple[datetime, str]] = []

    def update(self, catalog: Catalog) -> None:
        """Recompute the rows if the catalog changed."""
        now = catalog, catalog.changes
        if now == self._known:
            return
        made: dict[str, dict[str, list[Record]]] = {}
        for record in sorted(catalog.records(), key=lambda each: each.finished, reverse=True):
            if not record.shard:
                made.setdefault(record.partition, {}).setdefault(record.kind, []).append(record)
        order = [(max(of_kind[0].finished for of_kind in kinds.values()), batch) for batch, kinds in made.items()]
        self._newest = {batch: choose_thread(kinds) for batch, kinds in made.items()}
        self._order, self._known = sorted(order, reverse=True), now

    def batches(self, started: Mapping[str, datetime]) -> Sequence[str]:
        """Return every batch, newest first: by its newest commit, or by its start if it has none."""
        new = [(then, batch) for batch, then in started.items() if batch not in self._newest]
        return [batch for _, batch in sorted([*self._order, *new], reverse=True)]

    def newest(self, batch: str) -> Mapping[str, Record]:
        """Return kind to the batch's newest artifact of that kind."""
        return self._newest.get(batch, {})

    def waiting(self, have: str, lack: str) -> Sequence[str]:
        """Return the batches with an artifact of one kind and none of another, newest first."""
        return [batch for _, batch in self._order if have in self._newest[batch] and lack not in self._newest[batch]]

    def matches(self, batch: str, state: str, stage: str) -> bool:
        """Return whether any stage of the batch, or the given one, is in `state`, by the catalog."""
        kinds = self.newest(batch)
        states = [state_of(kinds.get(kind)) for kind, name in STAGE_OF.items() if stage in ("", name)]
        return state in states


def choose_thread(made: Mapping[str, Sequence[Record]]) -> dict[str, Record]:
    """Return one artifact of each kind of a batch, the newest made of the others: no row mixes trainings.

    Args:
        made: kind to the batch's artifacts of that kind, newest first.
    """
    chosen: dict[str, Record | None] = {}
    for kind in (*(each for each in STAGE_OF if each in made), *(each for each in made if each not in STAGE_OF)):
        chosen[kind] = next((record for record in made[kind] if fits(record, chosen)), None)
    return {kind: record for kind, record in chosen.items() if record}


def fits(record: Record, chosen: Mapping[str, Record | None]) -> bool:
    """Return whether an artifact was made of the chosen ones of its batch, and not of others of the same kinds."""
    for parent in record.made_from:
        kind, _, rest = parent.partition("/")  # a stage may have written anything
        other = chosen.get(kind)
        if rest.startswith(f"{record.partition}/") and kind in chosen and (other is None or other.reference != parent):
            return False
    return True


def state_of(record: Record | None) -> str:
    """Return the state by the record alone: missing, refused or committed."""
    return "missing" if record is None else "refused" if record.refused else "committed"


def choose_batches(
    index: GridIndex,
    started: Mapping[str, datetime],
    text: str = "",
    state: str = "",
    stage: str = "",
    live: Collection[str] | None = None,
) -> Sequence[str]:
    """Return the batches to show, newest first.

    Args:
        index: the committed artifacts.
        started: batches that may have committed nothing yet, with their start.
        text: substring of the batch's name.
        state: one of `STATES`, or empty.
        stage: the stage that is in the state; empty: any.
        live: the batches in `state`, if it is one of `LIVE_STATES`.
    """
    found = [batch for batch in index.batches(started) if text.lower() in batch.lower()]
    if state in LIVE_STATES:
        return [batch for batch in found if batch in (live or ())]
    if state in ("", "cached"):  # any committed one may be a cache hit, which only its newest run shows
        return found if not stage or state else [b for b in found if not index.matches(b, "missing", stage)]
    return [batch for batch in found if index.matches(batch, state, stage)]


def make_rows(
    index: GridIndex,
    catalog: Catalog,
    batches: Sequence[str],
    runs: Mapping[tuple[str, str], "StageRun"],
    judge: Callable[[str], Standing] | None = None,
) -> Sequence[Row]:
    """Return the rows of some batches, with the newest run of each stage; `judge` says how a model stands."""
    rows = [_make_row(index, catalog, batch, runs) for batch in batches]
    for cell in (cell for row in rows for cell in row.cells.values()) if judge else ():
        if cell.record and cell.record.kind == "model":
            cell.standing = judge(cell.record.reference)
    return rows


def _make_row(index: GridIndex, catalog: Catalog, batch: str, runs: Mapping[tuple[str, str], "StageRun"]) -> Row:
    kinds = index.newest(batch)
    row = Row(batch, max((record.finished for record in kinds.values()), default=LONG_AGO))
    shown: dict[str, Record] = {}
    for kind, stage in STAGE_OF.items():
        run = runs.get((batch, stage))
        result = catalog.get(run.reference) if run and run.reference else None
        if result and not fits(result, shown):
            run = None  # of another training than the cells before
        row.cells[stage] = cell = make_cell(kinds.get(kind), run, catalog.get)
        if cell.record:
            shown[kind] = cell.record
    if frames := kinds.get("frames"):
        _trace(row, catalog, frames)
    return row


def _trace(row: Row, catalog: Catalog, frames: Record) -> None:
    """Let the row say which dataset contains its frames, and no failure that this has made good."""
    failed = [cell for stage in TRAINED_ON if (cell := row.cells[stage]).state == "failed"]
    if row.cells["augment"].state != "missing" and not failed:
        return
    datasets = find_datasets(catalog, frames)
    for cell in failed:
        ended = cell.run.ended if cell.run else None
        if later := next((each for each in datasets if ended and each.finished > ended), None):
            replace_failure(cell, later)
    if row.cells["augment"].state == "missing" and not row.cells["augment"].elsewhere:
        row.cells["augment"].elsewhere = next(iter(datasets), None)


def replace_failure(cell: Cell, dataset: Record) -> None:
    """Let a cell show, instead of a failure, what the stage had made before, or else the later dataset."""
    cell.state = state_of(cell.record)
    cell.elsewhere = None if cell.record else dataset
    cell.note = f"a run failed before the batch was trained on after all, in {dataset.reference}"


def find_datasets(catalog: Catalog, frames: Record) -> Sequence[Record]:
    """Return the datasets that contain these frames, the oldest first."""
    datasets = [catalog.get(each) for each in catalog.children(frames.reference) if each.startswith("dataset/")]
    return sorted((each for each in datasets if each), key=lambda each: each.finished)


def make_cell(record: Record | None, run: "StageRun | None", find: Callable[[str], Record | None]) -> Cell:
    """Return the cell of a stage and batch, from its newest artifact and its newest run."""
    if run and run.state == "success" and run.reference:
        record = find(run.reference) or record
    cell = Cell(state_of(record), record, run=run)
    if record:
        cell.quality, cell.cost = headline(record), f"{duration(record.wall_s)} · {size(record.bytes)}"
        cell.note = record.refused or ""
    if run:
        _apply(cell, run)
    return cell


def _apply(cell: Cell, run: "StageRun") -> None:
    newer = cell.record is None or run.ended is None or cell.record.finished < run.ended
    if run.state in RUNNING:
        since = duration((datetime.now(UTC) - run.started).total_seconds()) if run.started else ""
        cell.state, cell.note = "running", (
            f"for {since}" if run.state == "running" and since else run.state.replace("_", " ")
        )
        cell.quality = cell.cost = ""
    elif run.state == "failed" and newer:
        cell.state, cell.note = "failed", run.failure or "see its log"
    elif run.state == "success" and cell.record is None and run.reference is None:
        cell.state, cell.note = "failed", "marked as success without an artifact: clear it"
    elif run.state == "success" and cell.record is None:
        cell.state = "committed"
    elif run.state == "success" and cell.state == "committed" and is_cached(cell.record, run):
        cell.state = "cached"
        cell.cost = f"cached, saved {duration(cell.record.wall_s)}" if cell.record else "cached"


def is_cached(record: Record | None, run: "StageRun") -> bool:
    """Return whether the run's artifact was cached: by the XCom `outcome`, else if it is older than the run."""
    if run.cached is not None:
        return run.cached
    return bool(record and run.started and record.finished < run.started)
