"""Assemble `bundle.tar`: the model file and all data about it that a device or a person needs."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim2edge.edge.bundle import CLASSES_FILE, RELEASE_FILE, SIGNATURE_FILE, Bundle
from sim2edge.edge.obstacle_detector import Preprocessor, check_picture
from sim2edge.edge.runtime import RUNTIME_OF_SUFFIX, load_runtime
from sim2edge.export.judged import NotJudged

SELF_CHECK_TOLERANCE = 0.1
"""Tolerated difference between processors' int8 sums, as a share of the largest logit; a broken kernel exceeds it."""

RUNTIME_MEMORY_MB = {"litert": 96, "onnxruntime": 112}
"""Memory of the detector's process without the model: 65 and 81 MB measured on x86-64, plus a margin."""
MODEL_COPIES = 4
"""Memory of a model in sizes of its file: 2.6 measured in ONNX Runtime, less than 1 in LiteRT."""
MEMORY_STEP_MB = 64
"""Stated memory is rounded up to this step."""

UNKNOWN = "unknown"


@dataclass(frozen=True)
class ReleaseFacts:
    """The facts common to all variants of a release."""

    release: str
    recipe: str
    network: Mapping[str, Any]
    """Arguments of the network."""
    classes: Sequence[str]
    floors: Sequence[str]
    not_judged: NotJudged
    postprocess: Mapping[str, Any]
    lineage: Mapping[str, str]
    config: Mapping[str, Any]

    @property
    def announced(self) -> dict[int, str]:
        """The classes that a device reports, by their index in the network's outputs."""
        return {n: name for n, name in enumerate(self.classes) if name not in self.not_judged.classes}

    @property
    def device_postprocess(self) -> Mapping[str, Any]:
        """The arguments of `decode` on the device, with `announced` unless all classes are."""
        if len(self.announced) == len(self.classes):
            return self.postprocess
        return {**self.postprocess, "announced": list(self.announced)}

    @property
    def announced_floors(self) -> list[str]:
        """Floor names by index; a floor type not judged is reported as unknown, since decoding always picks one."""
        return [UNKNOWN if name in self.not_judged.floors else name for name in self.floors]


def assemble(
    facts: ReleaseFacts, model: Path, metrics: Mapping[str, float | None], model_card: str
) -> dict[str, bytes]:
    """Return every member of the bundle of the file `model`, by name."""
    members = {
        SIGNATURE_FILE: _json(describe_signature(facts.device_postprocess, model)),
        CLASSES_FILE: _json({"classes": list(facts.announced.values()), "floors": facts.announced_floors}),
        "config.yaml": yaml.safe_dump(dict(facts.config), sort_keys=True).encode(),
        "MODEL_CARD.md": model_card.encode(),
    }
    about = {
        "release": facts.release,
        "recipe": facts.recipe,
        "network": dict(facts.network),
        "metrics": dict(metrics),
        "trained": "",  # older devices require the field
        "lineage": dict(facts.lineage),
    }
    return seal(about, members, model)


def seal(about: Mapping[str, Any], members: Mapping[str, bytes], model: Path) -> dict[str, bytes]:
    """Return the file `model`, the other members and `release.json`, which names them all, by name."""
    sealed = {f"model{model.suffix}": model.read_bytes(), **members}
    release = {
        **about,
        "format": model.suffix.removeprefix("."),
        "model_file": f"model{model.suffix}",
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sealed.items()},
        "requires": {"runtime": RUNTIME_OF_SUFFIX[model.suffix], "memory_mb": state_memory(model)},
    }
    return {RELEASE_FILE: _json(release), **sealed}


def swap_model(bundle: Bundle, model: Path) -> dict[str, bytes]:
    """Return every member of an installed bundle, with another form of its network."""
    kept = set(bundle.release.files) - {bundle.release.model_file}
    members = {name: (bundle.folder / name).read_bytes() for name in kept}
    members[SIGNATURE_FILE] = _json(describe_signature(bundle.read_json(SIGNATURE_FILE)["postprocess"], model))
    return seal(json.loads((bundle.folder / RELEASE_FILE).read_bytes()), members, model)


def state_memory(model: Path) -> int:
    """Return the memory to state for the detector with this file, MB, from a rule: measurements differ by machine."""
    needed = RUNTIME_MEMORY_MB[RUNTIME_OF_SUFFIX[model.suffix]] + MODEL_COPIES * model.stat().st_size / 2**20
    return math.ceil(needed / MEMORY_STEP_MB) * MEMORY_STEP_MB


def describe_signature(postprocess: Mapping[str, Any], model: Path) -> dict[str, Any]:
    """Return how to prepare an image for `model`, decode its outputs and check a device's results."""
    runtime = load_runtime(model)
    height, width = runtime.input_shape[1:3]
    logits = runtime.run(Preprocessor(height, width).prepare(check_picture(height, width)))["floor"][0]
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
        "postprocess": dict(postprocess),
        "self_check": {
            # Further digits depend on the processor's instruction set; the tolerance is far wider.
            "floor": [round(float(logit), 2) for logit in logits],
            "tolerance": round(SELF_CHECK_TOLERANCE * max(1.0, float(np.abs(logits).max())), 1),
        },
    }


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
