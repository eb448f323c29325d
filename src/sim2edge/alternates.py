"""Keep a batch's data and what was made of it with other settings apart.

A batch has one set of episodes and one of frames: its refs `refs/batches/<batch>` and `refs/frames/<batch>`, which
trainings read. A run with other settings does not take their place unless it is asked to (`--replace`):

    a stage that begins a batch (capture, ingest) is refused: another batch id is needed, or `--replace`
    a stage that works on it (clean) makes an alternate: `refs/alternates/frames/<batch>/<what differs>`

A new version of a stage with the same settings is no other setting. What is made of an alternate is an alternate.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sim2edge.bus import Bus
from sim2edge.config import StageConfig, cache_key_fields
from sim2edge.errors import BadInput
from sim2edge.expectation import flatten
from sim2edge.manifest import Manifest, split_reference
from sim2edge.stage import Stage
from sim2edge.stages import installed

FOLDER = "refs/alternates"
MAX_SLUG = 80
MAX_NAMED = 3
OTHER = re.compile(r"[^a-z0-9._-]+")


def has_own_ref(stage: Stage) -> bool:
    """Return whether the stage moves a ref of its batch."""
    return bool(stage.ref and "{partition}" in stage.ref)


def find_differences(stage: Stage, current: Manifest, config: StageConfig) -> dict[str, tuple[Any, Any]]:
    """Return the fields whose values differ from those of the batch's artifact: dotted name to its value and the new.

    What planning pins, such as the delivery of the inbox, is no setting; nor is a field that one of them does not have.
    """
    fields = cache_key_fields(config)
    pins = stage.source.pins if stage.source else ()
    old, new = flatten(current.config), flatten({k: v for k, v in fields.items() if k not in pins})
    return {name: (old[name], value) for name, value in new.items() if name in old and old[name] != value}


def find_current(bus: Bus, stage: Stage, partition: str) -> Manifest | None:
    """Return the batch's own artifact of a stage; None if it has none."""
    ref = bus.read_ref(stage.ref.format(partition=partition)) if stage.ref else None
    return bus.find(ref.target) if ref else None


def check_settings_of_batch(bus: Bus, stage: Stage, config: StageConfig, batch: str) -> None:
    """Check that a batch that exists was begun with these settings.

    Raises:
        BadInput: it was begun with others, or by another stage; names what differs.
    """
    current = find_current(bus, stage, batch) if has_own_ref(stage) else None
    if current and current.stage != stage.name:
        raise BadInput(f"batch '{batch}' is {current.reference}, made by {current.stage}: name another batch")
    if current and (found := find_differences(stage, current, config)):
        raise BadInput(
            f"batch '{batch}' is {current.reference}, made with other settings ({describe(found)}): "
            "name another batch, or replace it (--replace, or `replace` in the trigger form)"
        )


def describe(differences: Mapping[str, tuple[Any, Any]]) -> str:
    """Return the differences in one line: `episodes 250, now 4`."""
    named = list(differences.items())[:MAX_NAMED]
    shown = [f"{name} {_or_empty(old)}, now {_or_empty(new)}" for name, (old, new) in named]
    more = [f"and {len(differences) - MAX_NAMED} more"] if len(differences) > MAX_NAMED else []
    return "; ".join([*shown, *more])


def _or_empty(value: Any) -> Any:
    return "empty" if value in ("", (), [], {}) else value


def choose_ref(bus: Bus, stage: Stage, manifest: Manifest, config: StageConfig, *, replace: bool) -> str | None:
    """Return the ref to move to a new artifact, the batch's own or that of an alternate; None if the stage has none."""
    if stage.ref is None:
        return None
    own = stage.ref.format(partition=manifest.partition)
    current = find_current(bus, stage, manifest.partition) if has_own_ref(stage) and not replace else None
    if current is None or current.reference == manifest.reference:
        return own
    words = [f"{name}.{value}" for name, (_, value) in sorted(find_differences(stage, current, config).items())]
    words += [f"{role}.{each.rpartition('/')[2][:8]}" for role, each in alternate_inputs(bus, manifest)]
    return name_alternate(manifest, words) if words else own


def alternate_inputs(bus: Bus, manifest: Manifest) -> list[tuple[str, str]]:
    """Return role and reference of each input that is not its batch's own, so that trainings do not read it."""
    return [(role, each) for role, given in manifest.inputs.items() for each in given if is_alternate(bus, each)]


def is_alternate(bus: Bus, reference: str) -> bool:
    """Return whether an artifact is not its batch's own."""
    kind, partition, _ = split_reference(reference)
    ref = bus.read_ref(own_refs()[kind].format(partition=partition)) if kind in own_refs() else None
    return ref is not None and ref.target != reference


def own_refs() -> dict[str, str]:
    """Return kind to the pattern of a batch's own ref."""
    return {stage.produces: str(stage.ref) for stage in installed() if has_own_ref(stage)}


def name_alternate(manifest: Manifest, words: Sequence[str]) -> str:
    """Return the ref of an alternate, named by what differs: `refs/alternates/frames/demo-1/width.48`."""
    slug = OTHER.sub("_", "-".join(words).lower()).strip("._-")
    if len(slug) > MAX_SLUG:
        slug = f"{slug[:MAX_SLUG].rstrip('._-')}-{manifest.id[:4]}"
    return f"{FOLDER}/{manifest.kind}/{manifest.partition}/{slug or manifest.id}"
