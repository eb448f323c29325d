"""Write `MODEL_CARD.md`: intended use, training data, quality and limits of a model (arXiv 1810.03993)."""

from collections.abc import Iterable, Mapping
from typing import Any

from sim2edge.edge.obstacle_detector import UNKNOWN
from sim2edge.export.choose import Target, Variant
from sim2edge.export.judged import NotJudged
from sim2edge.export.parity import Quality
from sim2edge.export.release_bundle import ReleaseFacts

CARD = """# {recipe} {release}

Tells the floor type and the obstacles ahead of a small indoor robot from one camera image: class, box in the image and
distance along the ground. {floors_sentence} {classes_sentence}{not_judged_sentence}

## Intended use
Help for avoiding obstacles and adapting speed on a Raspberry Pi class device, one image at a time. It is no safety
function: it must not be the only thing between a robot and a person.

## Training data
{dataset_sentence} All of it is simulated. Episodes are split by a
hash of their name, so no room is in two splits.

| split | frames | episodes |
|---|---|---|
{split_rows}

## Quality
Measured on {frames} held-out test frames, on the released file (`{file}`, {bytes} bytes) with the device's own code.

| | released | trained network |
|---|---|---|
| floor accuracy | {quality.floor_accuracy:.3f} | {trained.floor_accuracy:.3f} |
| obstacle mAP@50 | {map50} | {trained_map50} |
| precision | {quality.precision:.3f} | {trained.precision:.3f} |
| recall | {quality.recall:.3f} | {trained.recall:.3f} |

| class | F1, released | F1, trained network | training examples |
|---|---|---|---|
{class_rows}

Detections agree with those of the trained network to {agreement:.1%} (F1 at IoU 0.5).

## On the device
Made for: {device_class}. Latency of one detection: {latency}.{measured_sentence} Memory: up to {memory_mb} MB.
Processor time of one detection: up to {cpu_ms:g} ms (95th percentile). Devices refuse a release that takes more.

## Limits
- It reports the classes above and nothing else; anything else is background or taken for one of them.
- Simulated textures, light and lenses only: expect less on real images until frames of the fleet are trained on.
- Detections below a score of {threshold} are dropped. Distances are estimates without an error bound.

## Lineage
{lineage_rows}
"""


def write_card(
    facts: ReleaseFacts,
    variant: Variant,
    target: Target,
    trained: Quality,
    dataset: Mapping[str, Any],
    frames: int,
    memory_mb: int,
    cpu_ms: float,
) -> str:
    """Return the model card of a release as Markdown.

    Args:
        facts: the facts of the release.
        variant: the released file.
        target: the class of device, and its known latencies.
        trained: quality of the trained network on the same frames.
        dataset: content of `dataset.json`.
        frames: number of test frames that the quality was measured on.
        memory_mb: memory stated for the detector, MB.
        cpu_ms: processor time stated for a detection, ms.
    """
    counts = dataset.get("class_counts", {})
    quality = variant.quality
    class_rows = [
        f"| {name} | {_share(f1)} | {_share(trained.class_f1[name])} | {counts.get(name, '')} |"
        for name, f1 in quality.class_f1.items()
        if name not in facts.not_judged.classes
    ]
    batches = dataset["frames_artifacts"]
    splits = [f"| {name} | {split['frames']} | {split['episodes']} |" for name, split in dataset["splits"].items()]
    return CARD.format(
        recipe=facts.recipe,
        release=facts.release,
        floors_sentence=f"Floors: {_list([f for f in facts.floors if f not in facts.not_judged.floors])}.",
        classes_sentence=f"Obstacles: {_list(facts.announced.values())}.",
        not_judged_sentence=_tell_not_judged(facts.not_judged),
        dataset_sentence=f"Frames of: {', '.join(batches)}.",
        split_rows="\n".join(splits),
        frames=frames,
        file=variant.file,
        bytes=variant.bytes,
        quality=quality,
        trained=trained,
        map50=_share(quality.map50),
        trained_map50=_share(trained.map50),
        class_rows="\n".join(class_rows),
        agreement=variant.distance.agreement,
        device_class=target.device_class,
        latency=target.describe_latency(variant.name),
        measured_sentence=f" Measured: {target.measured}." if variant.name in target.latency_ms else "",
        memory_mb=memory_mb,
        cpu_ms=cpu_ms,
        threshold=facts.postprocess["score_threshold"],
        lineage_rows="\n".join(f"- {role}: `{reference}`" for role, reference in facts.lineage.items()),
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _tell_not_judged(not_judged: NotJudged) -> str:
    """Return sentences on the classes and floors that were not judged; empty if all were."""
    parts = []
    if not_judged.classes:
        parts.append(f" Not judged for want of test examples, hence not reported: {', '.join(not_judged.classes)}.")
    if not_judged.floors:
        parts.append(f" Floors not judged, hence reported as {UNKNOWN}: {', '.join(not_judged.floors)}.")
    return "".join(parts)


def _share(value: float | None) -> str:
    return "none seen" if value is None else f"{value:.3f}"
