"""What matters of an artifact, by its kind: read from its small JSON files, ready for the templates.

The files may hold anything, or not be readable now: what is as it should be is shown, the rest left out or noted.
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
    """Return the details of an artifact; empty for a kind that has none. What cannot be read is noted."""
    describer = DESCRIBERS.get(manifest.kind)
    return describer(view, manifest, notes) if describer else {}


def describe_dataset(view: BusView, manifest: Manifest, notes: list[str]) -> Mapping[str, Any]:
    """Splits, and the batches with the share that each gives."""
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
    """Return metrics, pictures, the loss as a curve where there is no picture, and the verdicts on it."""
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
    """Return every rule with value, interval and limit, the metrics beside those of the champion, the pictures."""
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
    """Return every variant with parity, latency and size, which was chosen and why, and the rings that have it."""
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
    """Return the releases that a rollout rolls out."""
    record = view.catalog().get(rollout)
    return list(record.inputs.get("release", ())) if record else []


def pictures(manifest: Manifest, *names: str) -> list[str]:
    """Return those of the named files that there are."""
    paths = {file.path for file in manifest.files}
    return [name for name in names if name in paths]


def draw_curve(history: Any, name: str) -> Mapping[str, Any]:
    """Return a metric over epochs.

    The points of an SVG polyline, its ends, how many; empty when there is nothing to draw.
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
    """Return the value if it is an object; what a stage wrote may be anything."""
    return value if isinstance(value, dict) else {}


def dicts_in(value: Any, most: int = MAX_ROWS) -> list[dict[str, Any]]:
    """Return the objects in a list, the first of them; none when it is no list."""
    found: Iterable[Any] = value if isinstance(value, list) else ()
    return [each for each in found if isinstance(each, dict)][:most]


DESCRIBERS: Mapping[str, Callable[[BusView, Manifest, list[str]], Mapping[str, Any]]] = {
    "dataset": describe_dataset,
    "model": describe_model,
    "verdict": describe_verdict,
    "release": describe_release,
}
