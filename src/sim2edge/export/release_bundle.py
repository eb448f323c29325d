"""Assemble `bundle.tar`: the model file and all data about it that a device or a person needs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim2edge.edge.bundle import CLASSES_FILE, RELEASE_FILE, SIGNATURE_FILE, Bundle
from sim2edge.edge.detector.runtime import RUNTIME_OF_SUFFIX, load_runtime
from sim2edge.edge.obstacle_detector import UNKNOWN, Preprocessor, check_picture
from sim2edge.export.budgets import state_memory
from sim2edge.export.judged import NotJudged
from sim2edge.export.self_test_pictures import LOGIT_SHARE, check_finite, describe_self_test


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


@dataclass(frozen=True)
class Checks:
    """What a release is tested with on a device, besides its model."""

    cpu_ms_p95: float | None
    """Budget of a detection's processor time, ms; None only for other forms of a release older than version 4."""
    pictures: Mapping[str, bytes]
    """JPEGs by name; empty only for those."""


def assemble(
    facts: ReleaseFacts, model: Path, metrics: Mapping[str, float | None], model_card: str, checks: Checks
) -> dict[str, bytes]:
    """Return every member of the bundle of the file `model`, by name.

    Raises:
        BadInput: the model's outputs are not finite.
    """
    names = {"classes": list(facts.announced.values()), "floors": facts.announced_floors}
    members = {
        SIGNATURE_FILE: _json(describe_signature(facts.device_postprocess, model, checks.pictures, **names)),
        CLASSES_FILE: _json(names),
        "config.yaml": yaml.safe_dump(dict(facts.config), sort_keys=True).encode(),
        "MODEL_CARD.md": model_card.encode(),
        **checks.pictures,
    }
    about = {
        "release": facts.release,
        "recipe": facts.recipe,
        "network": dict(facts.network),
        "metrics": dict(metrics),
        "trained": "",  # older devices require the field
        "lineage": dict(facts.lineage),
    }
    return seal(about, members, model, checks.cpu_ms_p95)


def seal(
    about: Mapping[str, Any], members: Mapping[str, bytes], model: Path, cpu_ms_p95: float | None
) -> dict[str, bytes]:
    """Return the file `model`, the other members and `release.json`, which names them all, by name."""
    sealed = {f"model{model.suffix}": model.read_bytes(), **members}
    budget = {} if cpu_ms_p95 is None else {"cpu_ms_p95": cpu_ms_p95}
    release = {
        **about,
        "format": model.suffix.removeprefix("."),
        "model_file": f"model{model.suffix}",
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sealed.items()},
        "requires": {"runtime": RUNTIME_OF_SUFFIX[model.suffix], "memory_mb": state_memory(model), **budget},
    }
    return {RELEASE_FILE: _json(release), **sealed}


def swap_model(bundle: Bundle, model: Path) -> dict[str, bytes]:
    """Return every member of an installed bundle, with another form of its network."""
    kept = set(bundle.release.files) - {bundle.release.model_file}
    members = {name: (bundle.folder / name).read_bytes() for name in kept}
    signature, names = bundle.read_json(SIGNATURE_FILE), bundle.read_json(CLASSES_FILE)
    tested = {answer["file"]: members[answer["file"]] for answer in signature.get("self_test", {}).get("pictures", [])}
    described = describe_signature(signature["postprocess"], model, tested, names["classes"], names["floors"])
    members[SIGNATURE_FILE] = _json(described)
    about = json.loads((bundle.folder / RELEASE_FILE).read_bytes())
    return seal(about, members, model, bundle.release.cpu_ms_p95)


def describe_signature(
    postprocess: Mapping[str, Any],
    model: Path,
    pictures: Mapping[str, bytes],
    classes: Sequence[str],
    floors: Sequence[str],
) -> dict[str, Any]:
    """Return how to prepare an image for `model`, decode its outputs and test a device's results.

    Args:
        postprocess: arguments of `decode`.
        model: the file.
        pictures: of the self-test, JPEGs by name; empty: no self-test.
        classes: names of the announced classes.
        floors: names of the floors.

    Raises:
        BadInput: the model's outputs are not finite.
    """
    runtime = load_runtime(model)
    height, width = runtime.input_shape[1:3]
    outputs = runtime.run(Preprocessor(height, width).prepare(check_picture(height, width)))
    check_finite(outputs, "the picture of the self-check")
    logits = outputs["floor"][0]
    tested = describe_self_test(runtime, pictures, postprocess, classes, floors) if pictures else None
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
        # Devices of before version 4 of export know this check only.
        "self_check": {
            "floor": [round(float(logit), 2) for logit in logits],
            "tolerance": round(LOGIT_SHARE * max(1.0, float(np.abs(logits).max())), 1),
        },
        **({"self_test": tested} if tested else {}),
    }


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
