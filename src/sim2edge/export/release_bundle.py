"""What goes into `bundle.tar`: the model file and everything a device or a person needs to know of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim2edge.edge.bundle import CLASSES_FILE, RELEASE_FILE, SIGNATURE_FILE
from sim2edge.edge.obstacle_detector import check_picture
from sim2edge.edge.runtime import RUNTIME_OF_SUFFIX, load_runtime
from sim2edge.export.variants import prepared

SELF_CHECK_TOLERANCE = 0.1
"""Share of the largest logit that another processor's int8 sums may differ by; a broken kernel differs by more."""


@dataclass(frozen=True)
class ReleaseFacts:
    """What is the same for every variant of a release."""

    release: str
    recipe: str
    classes: Sequence[str]
    floors: Sequence[str]
    postprocess: Mapping[str, Any]
    trained: str
    lineage: Mapping[str, str]
    config: Mapping[str, Any]


def assemble(
    facts: ReleaseFacts, model: Path, metrics: Mapping[str, float], memory_mb: int, model_card: str
) -> dict[str, bytes]:
    """Every member of the bundle around the file `model`, by name."""
    members = {
        f"model{model.suffix}": model.read_bytes(),
        SIGNATURE_FILE: _json(describe_signature(facts, model)),
        CLASSES_FILE: _json({"classes": list(facts.classes), "floors": list(facts.floors)}),
        "config.yaml": yaml.safe_dump(dict(facts.config), sort_keys=True).encode(),
        "MODEL_CARD.md": model_card.encode(),
    }
    release = {
        "release": facts.release,
        "recipe": facts.recipe,
        "format": model.suffix.removeprefix("."),
        "model_file": f"model{model.suffix}",
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
        "requires": {"runtime": RUNTIME_OF_SUFFIX[model.suffix], "memory_mb": memory_mb},
        "metrics": dict(metrics),
        "trained": facts.trained,
        "lineage": dict(facts.lineage),
    }
    return {RELEASE_FILE: _json(release), **members}


def describe_signature(facts: ReleaseFacts, model: Path) -> dict[str, Any]:
    """How to prepare an image for `model`, read its outputs and check that a device computes it right."""
    runtime = load_runtime(model)
    height, width = runtime.input_shape[1:3]
    (picture,) = prepared([check_picture(height, width)], height, width)
    logits = runtime.run(picture)["floor"][0]
    return {
        "input": {
            "name": "image",
            "shape": list(runtime.input_shape),
            "dtype": "float32",
            "layout": "NHWC",
            "color": "RGB",
            "range": [0, 1],
        },
        "outputs": [{"name": name, "shape": list(shape)} for name, shape in runtime.output_shapes.items()],
        "postprocess": dict(facts.postprocess),
        "self_check": {
            "floor": [round(float(logit), 5) for logit in logits],
            "tolerance": round(SELF_CHECK_TOLERANCE * max(1.0, float(np.abs(logits).max())), 5),
        },
    }


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
