"""Say what waits while DAGs are paused, and what will become of it: lines for the Flywheel page. Pure."""

from collections.abc import Collection, Sequence

from sim2edge.catalog import Catalog, Record
from sim2edge_airflow.pages.flywheel_grid import GridIndex

MAX_NAMED = 5
WATCHED = {
    "sim_capture": "triggered captures wait in the queue",
    "ingest_batch": "deliveries wait in the inbox, and are registered afterwards",
    "annotate_batch": "deliveries wait in the inbox, and are registered afterwards",
    "watch_inbox": "deliveries wait in the inbox",
    "data_cleaning": "",
    "retrain": "requests for a training wait",
    "train_model": "requests for a training wait",
    "release_model": "",
    "reconcile": "what paused DAGs missed is not started",
}
"""DAG to what its pause means; empty: what waits is counted."""
AFTERWARDS = "what it missed starts within some minutes once it is unpaused"


def describe_paused(paused: Collection[str], index: GridIndex, catalog: Catalog) -> Sequence[str]:
    """Return a line for each paused DAG with what waits for it."""
    waits = {
        "data_cleaning": lambda: describe_batches(index.waiting("episodes", "frames")),
        "release_model": lambda: describe_verdict(newest_unreleased(catalog)),
    }
    return [f"{dag} is paused: {what or waits[dag]()}." for dag, what in WATCHED.items() if dag in paused]


def describe_batches(batches: Sequence[str]) -> str:
    """Return how many batches have no frames, and the newest by name."""
    if not batches:
        return "every batch has frames"
    named = ", ".join(batches[:MAX_NAMED]) + (", …" if len(batches) > MAX_NAMED else "")
    return f"{len(batches)} batch{'es have' if len(batches) > 1 else ' has'} no frames ({named}); {AFTERWARDS}"


def describe_verdict(verdict: Record | None) -> str:
    """Return which accepted model has no release."""
    return f"{verdict.reference} has no release; {AFTERWARDS}" if verdict else "every accepted model has its release"


def newest_unreleased(catalog: Catalog) -> Record | None:
    """Return the newest accepted verdict if no release was made of it."""
    accepted = [each for each in catalog.records() if each.kind == "verdict" and not each.refused]
    newest = max(accepted, key=lambda record: record.finished, default=None)
    released = newest and any(each.startswith("release/") for each in catalog.children(newest.reference))
    return None if released else newest
