"""Find what a withdrawn batch affects: artifacts, champion, rings, devices; and what each could go back to. Pure.

    affected = assess("b-7", records, unfit, champion="model/...", rings={"canary": "rollout/..."}, devices=[...])
    affected.rings[0].back_to          the newest earlier release of the ring that has no withdrawn batch, or None

A rollout, a verdict or a device counts also if it is past: what was ever made with the batch is in the catalog, and
a device reports the release that it runs, that of its other slot, and the last one that failed its trial.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sim2edge.catalog import Record
from sim2edge.fleet import Device
from sim2edge.stages import kinds
from sim2edge.withdrawal import derived


@dataclass(frozen=True)
class Ring:
    """A ring whose current release derives from the batch."""

    ring: str
    release: str
    """Reference of the current release."""
    back_to: str | None
    """Reference of the release to go back to; None: there is none."""

    @property
    def command(self) -> str | None:
        """The command that rolls the ring back."""
        return f"sim2edge push --input release={self.back_to} ring={self.ring}" if self.back_to else None


@dataclass(frozen=True)
class Champion:
    """The champion, if it derives from the batch."""

    model: str
    back_to: str | None
    """Reference of the model released before it; None: there is none."""


@dataclass(frozen=True)
class Use:
    """A device and the releases that derive from the batch, by their ids."""

    device: str
    ring: str | None
    runs: str | None
    """The one that it runs."""
    previous: str | None
    """The one in its other slot: it ran before, or is what the device falls back to."""
    failed: str | None
    """The one that failed its trial last."""
    offered: Sequence[str]
    """All that its ring ever got: it may have run them."""


@dataclass(frozen=True)
class Affected:
    """Everything that derives from a batch."""

    batch: str
    records: Sequence[Record]
    champion: Champion | None
    rings: Sequence[Ring]
    devices: Sequence[Use]

    @property
    def artifacts(self) -> dict[str, list[str]]:
        """The artifacts by kind, in the order of stages."""
        found = {kind: sorted(each.reference for each in self.records if each.kind == kind) for kind in kinds()}
        return {kind: names for kind, names in found.items() if names}

    @property
    def in_use(self) -> list[str]:
        """A line for each ring, device and champion that uses a model of the batch now."""
        rings = [f"ring {each.ring} offers {each.release}" for each in self.rings]
        devices = [f"device {each.device} runs release {each.runs}" for each in self.devices if each.runs]
        return [*([f"{self.champion.model} is champion"] if self.champion else []), *rings, *devices]

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "batch": self.batch,
            "artifacts": self.artifacts,
            "champion": asdict(self.champion) if self.champion else None,
            "rings": [{**asdict(ring), "command": ring.command} for ring in self.rings],
            "devices": [asdict(use) for use in self.devices],
        }


def assess(
    batch: str,
    records: Iterable[Record],
    unfit: Collection[str],
    *,
    single: frozenset[str],
    champion: str | None,
    rings: Mapping[str, str],
    devices: Iterable[Device],
) -> Affected:
    """Return what derives from a batch.

    Args:
        batch: the batch.
        records: every record of the catalog.
        unfit: references of all artifacts that derive from a withdrawn batch, this one included: nothing goes back to
            one of them.
        single: see `withdrawal.single_batch_kinds`.
        champion: the model that is champion.
        rings: ring to its current rollout.
        devices: the status of every device.
    """
    known = {record.reference: record for record in records}
    below = derived(known.values(), batch, single)
    names = {record.reference for record in below}
    return Affected(
        batch=batch,
        records=below,
        champion=(
            Champion(champion, earlier_champion(known, unfit, champion)) if champion in names and champion else None
        ),
        rings=find_rings(known, unfit, {ring: rollout for ring, rollout in rings.items() if rollout in names}),
        devices=find_uses(below, devices),
    )


def find_rings(known: Mapping[str, Record], unfit: Collection[str], rings: Mapping[str, str]) -> list[Ring]:
    """Return the rings with what each can go back to: the oldest release first, as the last one published is champion.

    Args:
        known: the records by reference.
        unfit: see `assess`.
        rings: ring to its current rollout.
    """
    found = [
        Ring(ring, _release_of(known[rollout]), earlier_release(known, unfit, known[rollout]))
        for ring, rollout in sorted(rings.items())
    ]
    return sorted(found, key=lambda ring: known[ring.back_to].finished.timestamp() if ring.back_to else 0)


def earlier_release(known: Mapping[str, Record], unfit: Collection[str], current: Record) -> str | None:
    """Return the newest release that the ring of rollout `current` got before it and that has no withdrawn batch."""
    ring = current.numbers.get("ring")
    before = [
        each
        for each in known.values()
        if each.kind == "rollout" and each.numbers.get("ring") == ring and each.finished < current.finished
    ]
    fit = [each for each in before if _release_of(each) in known and _release_of(each) not in unfit]
    newest = max(fit, key=lambda each: each.finished, default=None)
    return _release_of(newest) if newest else None


def earlier_champion(known: Mapping[str, Record], unfit: Collection[str], champion: str) -> str | None:
    """Return the model that was released last before the champion, to any ring, and that has no withdrawn batch."""
    rollouts = [
        (each, known[_release_of(each)])
        for each in known.values()
        if each.kind == "rollout" and _release_of(each) in known
    ]
    since = min((each.finished for each, release in rollouts if _model_of(release) == champion), default=None)
    before = [(each.finished, release) for each, release in rollouts if since is None or each.finished < since]
    fit = [(then, _model_of(release)) for then, release in before if release.reference not in unfit]
    return max((pair for pair in fit if pair[1] in known), default=(None, None))[1]


def _release_of(rollout: Record) -> str:
    return next(iter(rollout.inputs.get("release", ())), "")


def _model_of(release: Record) -> str:
    return next(iter(release.inputs.get("model", ())), "")


def find_uses(below: Iterable[Record], devices: Iterable[Device]) -> list[Use]:
    """Return the devices that run, have or may have run a release among the artifacts `below` the batch, by name."""
    made = list(below)
    ids = {each.id for each in made if each.kind == "release"}
    offered: dict[str, list[str]] = {}
    for each in sorted(made, key=lambda each: each.finished):
        if each.kind == "rollout":
            offered.setdefault(str(each.numbers.get("ring")), []).append(_release_of(each).rpartition("/")[2])
    uses = [_use_of(device, ids, offered.get(device.ring or "", [])) for device in devices]
    found = [use for use in uses if use.runs or use.previous or use.failed or use.offered]
    return sorted(found, key=lambda use: use.device)


def _use_of(device: Device, ids: Collection[str], offered: Sequence[str]) -> Use:
    def among(release: str | None) -> str | None:
        return release if release in ids else None

    failed = device.failure.release if device.failure else None
    return Use(device.device, device.ring, among(device.release), among(device.previous), among(failed), tuple(offered))
