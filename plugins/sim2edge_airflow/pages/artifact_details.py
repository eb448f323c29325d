"""Collect the details of an artifact that its page shows, by kind, from the artifact's small JSON files.

The files may have any content or be unreadable: valid values are shown, others are omitted, read errors are noted.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sim2edge.catalog import is_number
from sim2edge.manifest import Manifest
from sim2edge_airflow.pages.bus_view import BusView, read_or_note

MAX_BATCHES = 60
MAX_ROWS = 100
MAX_EPOCHS = 2000
LOSS = "train_total_loss"
CURVE_WIDTH, CURVE_HEIGHT = 560, 160


def describe(view: BusView, manifest: Manifest, notes: list[str]) -> Mapping[str, Any]:
    """Return the details of an artifact, empty for a kind without any; append read errors to `notes`."""
    describer = DESCRIBERS.get(manifest.kind)
    return describer(view, manifest, notes) if describer else {}


def describe_dataset(view: BusView, manifest: Manifest, notes: list[str]) -> Mapping[str, Any]:
    """Return splits, class and floor counts, and the batches of a dataset."""
    content = as_dict(read_or_note(notes, view.json, manifest.reference, "dataset.json"))
    frames = manifest.inputs.get("frames", [])
    batches = [each.split("/")[1] for each in reversed(frames) if each.count("/") == 2]
    return {
        "splits": as_dict(content.get("splits")),
        "classes": as_dict(content.get("class_counts")),
        "floors": as_dict(content.get("floor_counts")),
        "batches": batches[:MAX_BATCHES],
        "total": len(batches),
    }


def describe_model(view: BusView, manifest: Manifest, notes: list[str]) -> Mapping[str, Any]:
    """Return a model's pictures, or else its loss curve, its latest verdict and its releases."""
    catalog = view.catalog()
    below = [catalog.get(each) for each in catalog.children(manifest.reference)]
    verdicts = sorted((r for r in below if r and r.kind == "verdict"), key=lambda r: r.finished)
    verdict = verdicts[-1].reference if verdicts else None
    judged = read_or_note(notes, view.manifest, verdict) if verdict else None
    seen = pictures(manifest, "curves.png")
    return {
        "pictures": seen,
        "curve": {} if seen else draw_curve(read_or_note(notes, view.json, manifest.reference, "history.json"), LOSS),
        "verdict": verdict,
        "judged": describe_verdict(view, judged, notes) if judged else {},
        "refused": verdicts[-1].refused if verdicts else None,
        "releases": [r for r in below if r and r.kind == "release"][:MAX_BATCHES],
    }


def describe_verdict(view: BusView, manifest: Manifest, notes: list[str]) -> Mapping[str, Any]:
    """Return the rules with value, interval and limit, the metrics next to the champion's, and the pictures."""
    content = as_dict(read_or_note(notes, view.json, manifest.reference, "verdict.json"))
    metrics, champion = as_dict(content.get("metrics")), as_dict(content.get("champion_metrics"))
    scalars = [name for name, value in metrics.items() if is_number(value)]
    return {
        "rules": dicts_in(content.get("rules")),
        "champion": content.get("champion") if isinstance(content.get("champion"), str) else None,
        "metrics": [(name, metrics[name], champion.get(name)) for name in scalars][:MAX_ROWS],
        "reference": manifest.reference,
        "pictures": pictures(manifest, "confusion_matrix.png", "roc.png"),
    }


def describe_release(view: BusView, manifest: Manifest, notes: list[str]) -> Mapping[str, Any]:
    """Return the variants with parity, latency and size, the chosen one, and the rings and devices that have it."""
    report = as_dict(read_or_note(notes, view.json, manifest.reference, "export_report.json"))
    rings = [
        name.removeprefix("refs/rings/")
        for name, ref in view.refs().items()
        if name.startswith("refs/rings/") and manifest.reference in rollout_of(view, ref.target)
    ]
    devices = [device for device in view.fleet() if device.release == manifest.id]
    return {
        "chosen": report.get("chosen"),
        "trained": as_dict(report.get("trained")),
        "variants": dicts_in(report.get("variants")),
        "rings": rings,
        "devices": devices[:MAX_BATCHES],
        "on": len(devices),
    }


def rollout_of(view: BusView, rollout: str) -> list[str]:
    """Return the releases of a rollout."""
    record = view.catalog().get(rollout)
    return list(record.inputs.get("release", ())) if record else []


def pictures(manifest: Manifest, *names: str) -> list[str]:
    """Return those of the named files that the artifact has."""
    paths = {file.path for file in manifest.files}
    return [name for name in names if name in paths]


def draw_curve(history: Any, name: str) -> Mapping[str, Any]:
    """Return a metric over epochs as the points of an SVG polyline, first and last value, and number of epochs.

    Empty if there are fewer than two values.
    """
    values = [row[name] for row in dicts_in(history, MAX_EPOCHS) if is_number(row.get(name))]
    if len(values) < 2:
        return {}
    low, high = min(values), max(values)
    step, span = CURVE_WIDTH / (len(values) - 1), (high - low) or 1.0
    points = ((i * step, CURVE_HEIGHT * (1 - (value - low) / span)) for i, value in enumerate(values))
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return {"points": drawn, "first": values[0], "last": values[-1], "epochs": len(values)}


def as_dict(value: Any) -> dict[str, Any]:
    """Return the value if it is a JSON object, else {}: a stage may have written anything."""
    return value if isinstance(value, dict) else {}


def dicts_in(value: Any, most: int = MAX_ROWS) -> list[dict[str, Any]]:
    """Return at most `most` JSON objects of a list; empty if the value is not a list."""
    found: Iterable[Any] = value if isinstance(value, list) else ()
    return [each for each in found if isinstance(each, dict)][:most]


DESCRIBERS: Mapping[str, Callable[[BusView, Manifest, list[str]], Mapping[str, Any]]] = {
    "dataset": describe_dataset,
    "model": describe_model,
    "verdict": describe_verdict,
    "release": describe_release,
}
