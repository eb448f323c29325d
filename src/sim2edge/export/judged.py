"""Select what the variants are compared on: held-out frames, and the classes and floors that the verdict judged.

What it could not judge for lack of examples, devices do not announce.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from sim2edge.edge.detector.camera_source import Image
from sim2edge.errors import BadInput
from sim2edge.export.config import Limits
from sim2edge.recipes.perception_frames import Frames


@dataclass(frozen=True)
class NotJudged:
    """The classes and floors with too few examples in the test split."""

    classes: Sequence[str] = ()
    floors: Sequence[str] = ()


def read_not_judged(verdict: Mapping[str, Any], classes: Sequence[str], floors: Sequence[str], name: str) -> NotJudged:
    """Read `not_judged` of a verdict; a verdict without it judged everything.

    Args:
        verdict: content of `verdict.json`.
        classes: names of the network's classes.
        floors: names of its floor types.
        name: the file, for error messages.

    Raises:
        BadInput: it is not `{"classes": [...], "floors": [...]}`, or holds names that the network does not predict.
    """
    listed = verdict.get("not_judged") or {}
    if not isinstance(listed, dict):
        raise BadInput(f"{name}: not_judged: expected classes and floors, not {listed!r}")
    return NotJudged(
        _names(listed, "classes", classes, name),
        _names(listed, "floors", floors, name),
    )


def _names(listed: Mapping[str, Any], what: str, known: Collection[str], file: str) -> Sequence[str]:
    names = listed.get(what) or []
    if not isinstance(names, list) or not set(map(str, names)) <= set(known):
        raise BadInput(f"{file}: not_judged.{what}: expected names of: {', '.join(known)}; not {names!r}")
    return names


def find_lack(not_judged: NotJudged, classes: Sequence[str], floors: Sequence[str], limits: Limits) -> str:
    """Return which limits the number of judged classes or floors misses, as text; empty if none.

    Such a network is not released.
    """
    counts = (
        ("classes", len(set(classes) - set(not_judged.classes)), limits.min_classes),
        ("floor types", len(set(floors) - set(not_judged.floors)), limits.min_floors),
    )
    return "; ".join(f"{what} that were judged {count} below {limit}" for what, count, limit in counts if count < limit)


def keep_boxes(frames: Frames, announced: Collection[int]) -> Frames:
    """Return the frames with only the boxes of the classes `announced` (indices)."""
    kept = np.isin(frames.classes, list(announced))
    counts = [kept[start:end].sum() for start, end in zip(frames.starts[:-1], frames.starts[1:], strict=True)]
    return replace(
        frames,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(frames.starts.dtype),
        boxes=frames.boxes[kept],
        classes=frames.classes[kept],
        distances_m=frames.distances_m[kept],
    )


def spread(frames: Frames, limit: int) -> Frames:
    """Return at most `limit` frames, evenly spread over all of them."""
    if len(frames) <= limit:
        return frames
    chosen = np.linspace(0, len(frames) - 1, limit).astype(int)
    spans = [np.arange(frames.starts[n], frames.starts[n + 1]) for n in chosen]
    boxes = np.concatenate(spans)
    return replace(
        frames,
        images=frames.images[chosen],
        floors=frames.floors[chosen],
        starts=np.concatenate([[0], np.cumsum([len(span) for span in spans])]),
        boxes=frames.boxes[boxes],
        classes=frames.classes[boxes],
        distances_m=frames.distances_m[boxes],
        names=tuple(frames.names[n] for n in chosen),
    )


def camera_images(frames: Frames) -> Sequence[Image]:
    """Return the frames' images, converted to BGR."""
    return [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8) for image in frames.images]
