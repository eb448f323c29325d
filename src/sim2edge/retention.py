"""Decide which artifacts to retire: a policy for each kind, and what must stay whatever the policy says. Pure.

    kept = protect(records, roots, now)                      what a live ref or a device needs
    for removal in choose(records, kept, policy, owned, now): removal.reference, removal.bytes, removal.why

A live artifact stays, and so does what it was made from in one step: with its inputs it can be reproduced. What was
committed lately stays as well, with its inputs: something may be using it. The policy decides about the rest.
`retire.py` removes; `sim2edge gc --policy` and the DAG `retention` call it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sim2edge.catalog import Record
from sim2edge.config import read_yaml
from sim2edge.errors import BadInput
from sim2edge.lines import first_problem
from sim2edge.stages import kinds

YOUNG = timedelta(hours=48)
"""Age below which an artifact and its inputs stay."""
MAX_DAYS = 36_500


class KindPolicy(BaseModel):
    """When an artifact of a kind is retired: as soon as one of the conditions holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    days: float | None = Field(None, gt=0, le=MAX_DAYS, description="older than this many days")
    last: int | None = Field(None, ge=1, description="not among this many newest of its kind")
    superseded_days: float | None = Field(
        None, gt=0, le=MAX_DAYS, description="replaced by a newer one of its batch, and older than this many days"
    )


class RetentionPolicy(BaseModel):
    """What is retired; a kind that is not named is kept for ever."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kinds: dict[str, KindPolicy] = Field(default={}, description="kind to its policy")
    max_gb: float | None = Field(
        None, gt=0, description="gigabytes (1e9) of payload above which the largest go, as far as they may"
    )


@dataclass(frozen=True)
class Removal:
    """An artifact to retire, and why."""

    reference: str
    bytes: int
    why: str


def read_policy(path: Path) -> RetentionPolicy:
    """Read a policy file.

    Raises:
        BadInput: it is not YAML, a field is invalid, or a kind does not exist; names file and field.
    """
    try:
        content = read_yaml(path)
        policy = RetentionPolicy.model_validate({} if content is None else content)
    except ValidationError as error:
        raise BadInput(f"{path.name}: {first_problem(error)}") from error
    if unknown := sorted(policy.kinds.keys() - {*kinds()}):
        raise BadInput(f"{path.name}: kinds: '{unknown[0]}' is not one of: {', '.join(kinds())}")
    return policy


def protect(records: Iterable[Record], roots: Iterable[str], now: datetime) -> set[str]:
    """Return the references that must stay.

    Args:
        records: every record of the catalog.
        roots: what live refs name and devices run.
        now: the present time, UTC.
    """
    known = {record.reference: record for record in records}
    young = (name for name, record in known.items() if now - record.finished < YOUNG)
    kept: set[str] = set()
    for name in (*roots, *young):
        kept.add(name)
        if record := known.get(name):
            kept.update(reference for given in record.inputs.values() for reference in given)
    return kept | {part for name in kept if (record := known.get(name)) for part in record.parts}


def choose(
    records: Sequence[Record],
    kept: Collection[str],
    policy: RetentionPolicy,
    owned: Mapping[str, str],
    now: datetime,
) -> Sequence[Removal]:
    """Return the artifacts to retire, the largest first.

    Args:
        records: every record of the catalog.
        kept: what must stay, see `protect`.
        policy: the policy.
        owned: reference of each batch's own episodes and frames, by `<kind>/<batch>`.
        now: the present time, UTC.
    """
    newest = rank(records)
    found = [
        Removal(record.reference, record.bytes, why)
        for record in records
        if record.reference not in kept and (why := find_reason(record, newest[record.reference], policy, owned, now))
    ]
    gone = {removal.reference for removal in found}
    rest = [record for record in records if record.reference not in gone]
    return sorted([*found, *reduce_size(rest, kept, policy)], key=lambda each: (-each.bytes, each.reference))


def rank(records: Iterable[Record]) -> dict[str, int]:
    """Return how many artifacts of its kind are newer, by reference; a shard ranks with the others of its kind."""
    ranks: dict[str, int] = {}
    counts: dict[str, int] = {}
    for record in sorted(records, key=lambda each: (each.finished, each.reference), reverse=True):
        ranks[record.reference] = counts.get(record.kind, 0)
        counts[record.kind] = ranks[record.reference] + 1
    return ranks


def find_reason(
    record: Record, newer: int, policy: RetentionPolicy, owned: Mapping[str, str], now: datetime
) -> str | None:
    """Return why an artifact is retired; None: it is kept."""
    rule = policy.kinds.get(record.kind)
    if rule is None:
        return None
    days = (now - record.finished) / timedelta(days=1)
    own = owned.get(f"{record.kind}/{record.partition}")
    if rule.superseded_days is not None and own not in (None, record.reference) and days > rule.superseded_days:
        return f"{own} has replaced it, and it is older than {rule.superseded_days:g} days"
    if rule.days is not None and days > rule.days:
        return f"older than {rule.days:g} days"
    if rule.last is not None and newer >= rule.last:
        return f"not among the {rule.last} newest"
    return None


def reduce_size(records: Sequence[Record], kept: Collection[str], policy: RetentionPolicy) -> Sequence[Removal]:
    """Return the largest artifacts that may go, as many as bring the payload down to `max_gb`."""
    if policy.max_gb is None:
        return []
    over = sum(record.bytes for record in records) - policy.max_gb * 1e9
    found: list[Removal] = []
    for record in sorted(records, key=lambda each: (-each.bytes, each.reference)):
        if over <= 0 or record.bytes == 0:
            break
        if record.kind in policy.kinds and record.reference not in kept:
            found.append(Removal(record.reference, record.bytes, f"the payload exceeds {policy.max_gb:g} GB"))
            over -= record.bytes
    return found
