"""Map the class names of other producers to ours, and name those that are unknown."""

import json
from collections.abc import Iterable, Mapping

from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.messages import Labels
from sim2edge.recipes.perception_names import CLASSES

MAX_NAMED = 8
"""Unknown classes that an error names."""


def rename(labels: Labels, names: Mapping[str, str]) -> Labels:
    """Return labels with other class names; boxes whose class maps to an empty name are left out."""
    if not names:
        return labels
    renamed = (box.model_copy(update={"label": names.get(box.label, box.label)}) for box in labels.boxes)
    return labels.model_copy(update={"boxes": tuple(box for box in renamed if box.label)})


def check_classes(topic: str, messages: Iterable[Labels]) -> None:
    """Check that all boxes are of known classes.

    Raises:
        BadLog: names the classes that are not.
    """
    unknown = sorted({box.label for labels in messages for box in labels.boxes} - set(CLASSES))
    if unknown:
        named = ", ".join(f"'{name[:40]}'" for name in unknown[:MAX_NAMED]) + (", ..." if unknown[MAX_NAMED:] else "")
        example = json.dumps(unknown[0], ensure_ascii=False)
        raise BadLog(
            f"{topic}: class {named}: not one of {', '.join(CLASSES)}: "
            f"classes.map='{{{example}: <class>}}' maps one, to an empty name leaves its boxes out"
        )
