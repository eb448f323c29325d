"""What matters of an artifact, by its kind: read from its small JSON files, ready for the templates."""

from collections.abc import Callable, Mapping
from typing import Any

from bus_view import BusView

from sim2edge.manifest import Manifest

MOST_BATCHES = 60
CURVE_WIDTH, CURVE_HEIGHT = 560, 160


def describe(view: BusView, manifest: Manifest) -> Mapping[str, Any]:
    """The details of an artifact; empty for a kind that has none, and where the files are not as they should be."""
    describer = DESCRIBERS.get(manifest.kind)
    return describer(view, manifest) if describer else {}


def describe_dataset(view: BusView, manifest: Manifest) -> Mapping[str, Any]:
    """Splits, and the batches with the share that each gives."""
    content = as_dict(view.json(manifest.reference, "dataset.json"))
    frames = manifest.inputs.get("frames", [])
    batches = [{"reference": each, "batch": each.split("/")[1]} for each in reversed(frames)]
    return {
        "splits": as_dict(content.get("splits")),
        "classes": as_dict(content.get("class_counts")),
        "floors": as_dict(content.get("floor_counts")),
        "batches": batches[:MOST_BATCHES],
        "total": len(batches),
    }


def describe_model(view: BusView, manifest: Manifest) -> Mapping[str, Any]:
    """Metrics, pictures, the loss as a curve where there is no picture, and the verdicts on it."""
    catalog = view.catalog()
    below = [catalog.get(each) for each in catalog.children(manifest.reference)] if catalog else []
    verdicts = sorted((r for r in below if r and r.kind == "verdict"), key=lambda r: r.finished)
    verdict = verdicts[-1].reference if verdicts else None
    history = view.json(manifest.reference, "history.json")
    return {
        "pictures": pictures(manifest, "curves.png"),
        "curve": draw_curve(history, "train_total_loss"),
        "last": history[-1] if isinstance(history, list) and history and isinstance(history[-1], dict) else {},
        "verdict": verdict,
        "judged": describe_verdict(view, view.manifest(verdict)) if verdict else {},
        "refused": verdicts[-1].refused if verdicts else None,
        "releases": [r for r in below if r and r.kind == "release"],
    }


def describe_verdict(view: BusView, manifest: Manifest) -> Mapping[str, Any]:
    """Every rule with value and limit, the metrics beside those of the champion, the pictures."""
    content = as_dict(view.json(manifest.reference, "verdict.json"))
    rules = content.get("rules")
    metrics, champion = as_dict(content.get("metrics")), as_dict(content.get("champion_metrics"))
    scalars = [name for name, value in metrics.items() if isinstance(value, int | float)]
    return {
        "rules": [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else [],
        "passed": content.get("passed"),
        "champion": content.get("champion") if isinstance(content.get("champion"), str) else None,
        "metrics": [(name, metrics[name], champion.get(name)) for name in scalars],
        "classes": as_dict(metrics.get("classes")),
        "reference": manifest.reference,
        "pictures": pictures(manifest, "confusion_matrix.png", "roc.png"),
    }


def describe_release(view: BusView, manifest: Manifest) -> Mapping[str, Any]:
    """Every variant with parity, latency and size, which was chosen and why, and the rings that have it."""
    report = as_dict(view.json(manifest.reference, "export_report.json"))
    variants = report.get("variants")
    rings = [
        name.removeprefix("refs/rings/")
        for name, ref in view.refs().items()
        if name.startswith("refs/rings/") and manifest.reference in rollout_of(view, ref.target)
    ]
    devices = [device for device in view.fleet() if device.release == manifest.id]
    return {
        "chosen": report.get("chosen"),
        "trained": as_dict(report.get("trained")),
        "variants": [each for each in variants if isinstance(each, dict)] if isinstance(variants, list) else [],
        "rings": rings,
        "devices": devices[:MOST_BATCHES],
        "on": len(devices),
    }


def rollout_of(view: BusView, rollout: str) -> list[str]:
    """The releases that a rollout rolls out."""
    catalog = view.catalog()
    record = catalog.get(rollout) if catalog else None
    return list(record.inputs.get("release", ())) if record else []


def pictures(manifest: Manifest, *names: str) -> list[str]:
    """Those of the named files that there are."""
    paths = {file.path for file in manifest.files}
    return [name for name in names if name in paths]


def draw_curve(history: Any, name: str) -> str:
    """A metric over epochs as the points of an SVG polyline; empty when there is nothing to draw."""
    if not isinstance(history, list):
        return ""
    values = [row[name] for row in history if isinstance(row, dict) and isinstance(row.get(name), int | float)]
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    step, span = CURVE_WIDTH / (len(values) - 1), (high - low) or 1.0
    points = ((i * step, CURVE_HEIGHT * (1 - (value - low) / span)) for i, value in enumerate(values))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def as_dict(value: Any) -> dict[str, Any]:
    """The value if it is an object; what a stage wrote may be anything."""
    return value if isinstance(value, dict) else {}


DESCRIBERS: Mapping[str, Callable[[BusView, Manifest], Mapping[str, Any]]] = {
    "dataset": describe_dataset,
    "model": describe_model,
    "verdict": describe_verdict,
    "release": describe_release,
}
