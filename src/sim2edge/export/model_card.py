"""`MODEL_CARD.md`: what the model is for, what it learned from, how good it is and where it ends (arXiv 1810.03993)."""

from collections.abc import Mapping
from typing import Any

from sim2edge.export.choose import Variant
from sim2edge.export.parity import Quality
from sim2edge.export.release_bundle import ReleaseFacts

CARD = """# {recipe} {release}

Tells the floor type and the obstacles ahead of a small indoor robot from one camera image: class, box in the image and
distance along the ground. {floors_sentence} {classes_sentence}

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
| obstacle mAP@50 | {quality.map50:.3f} | {trained.map50:.3f} |
| precision | {quality.precision:.3f} | {trained.precision:.3f} |
| recall | {quality.recall:.3f} | {trained.recall:.3f} |

| class | F1, released | F1, trained network | training examples |
|---|---|---|---|
{class_rows}

Detections agree with those of the trained network to {agreement:.1%} (F1 at IoU 0.5). One detection took
{latency} on one thread of the machine that exported it, which is not a Raspberry Pi.

## Limits
- It knows the classes above and nothing else; anything else is background or taken for one of them.
- Simulated textures, light and lenses only: expect less on real images until frames of the fleet are trained on.
- Detections below a score of {threshold} are dropped. Distances are estimates without an error bound.

## Lineage
{lineage_rows}
"""


def write_card(facts: ReleaseFacts, variant: Variant, trained: Quality, dataset: Mapping[str, Any], frames: int) -> str:
    """The model card of a release as Markdown.

    Args:
        facts: what the release is made from.
        variant: the released file.
        trained: quality of the trained network on the same frames.
        dataset: content of `dataset.json`.
        frames: how many test frames the quality was measured on.
    """
    counts = dataset.get("class_counts", {})
    quality = variant.quality
    class_rows = [
        f"| {name} | {_share(f1)} | {_share(trained.class_f1[name])} | {counts.get(name, '')} |"
        for name, f1 in quality.class_f1.items()
    ]
    batches = dataset["frames_artifacts"]
    splits = [f"| {name} | {split['frames']} | {split['episodes']} |" for name, split in dataset["splits"].items()]
    return CARD.format(
        recipe=facts.recipe,
        release=facts.release,
        floors_sentence=f"Floors: {', '.join(facts.floors)}.",
        classes_sentence=f"Obstacles: {', '.join(facts.classes)}.",
        dataset_sentence=f"Frames of: {', '.join(batches)}.",
        split_rows="\n".join(splits),
        frames=frames,
        file=variant.file,
        bytes=variant.bytes,
        quality=quality,
        trained=trained,
        class_rows="\n".join(class_rows),
        agreement=variant.distance.agreement,
        latency="an unmeasured time" if variant.latency_ms_p50 is None else f"{variant.latency_ms_p50:.2f} ms (median)",
        threshold=facts.postprocess["score_threshold"],
        lineage_rows="\n".join(f"- {role}: `{reference}`" for role, reference in facts.lineage.items()),
    )


def _share(value: float | None) -> str:
    return "none seen" if value is None else f"{value:.3f}"
