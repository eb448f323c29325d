"""Work out which release a ring had from when to when, and which model was champion. Pure: records and refs in.

    terms = ring_terms(catalog, refs)             # ring to its terms, the oldest first
    champion_terms(catalog, refs)                 # the same of the champion

A rollout is recorded once, when a release is first published to a ring. If a release is published there again, as to
roll back, only the ref moves: the last term then begins with the ref's own time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sim2edge.bus import Ref
from sim2edge.catalog import Catalog, Record
from sim2edge_airflow.pages.bus_view import CHAMPION, is_reference

RINGS = "refs/rings/"


@dataclass(frozen=True)
class Term:
    """A release on a ring, or a champion, for a time."""

    holder: str
    """Name of the ring, or `champion`."""
    reference: str
    """The release, or the model."""
    rollout: str | None
    start: datetime | None
    """None: unknown."""
    end: datetime | None = None
    """None: it has not ended."""
    back: bool = False
    """Whether the holder had had it before: a roll-back."""

    @property
    def current(self) -> bool:
        """Whether it has not ended."""
        return self.end is None


def ring_terms(catalog: Catalog, refs: Mapping[str, Ref]) -> dict[str, Sequence[Term]]:
    """Return ring to the terms of its releases, the oldest first."""
    found: dict[str, list[Term]] = {}
    for rollout in sorted_rollouts(catalog):
        ring, release = str(rollout.numbers.get("ring", "")), release_of(rollout)
        if ring and release:
            found.setdefault(ring, []).append(Term(ring, release, rollout.reference, rollout.finished))
    for name, ref in refs.items():
        current = catalog.get(ref.target) if name.startswith(RINGS) else None
        release = release_of(current) if current else None
        if current and release:
            ring = name.removeprefix(RINGS)
            found[ring] = add_current(found.get(ring, []), Term(ring, release, current.reference, moved(ref)))
    return {ring: close(terms) for ring, terms in sorted(found.items())}


def champion_terms(catalog: Catalog, refs: Mapping[str, Ref]) -> Sequence[Term]:
    """Return the terms of the champions, the oldest first: a released model is champion from its rollout on."""
    terms: list[Term] = []
    for rollout in sorted_rollouts(catalog):
        release = catalog.get(release_of(rollout) or "")
        models = [each for each in release.inputs.get("model", ()) if is_reference(each)] if release else []
        terms += [Term("champion", model, rollout.reference, rollout.finished) for model in models]
    ref = refs.get(CHAMPION)
    return close(add_current(terms, Term("champion", ref.target, None, moved(ref))) if ref else terms)


def sorted_rollouts(catalog: Catalog) -> list[Record]:
    """Return every rollout, the oldest first."""
    return sorted((r for r in catalog.records() if r.kind == "rollout"), key=lambda record: record.finished)


def release_of(rollout: Record) -> str | None:
    """Return the release of a rollout; None if it names none."""
    return next((each for each in rollout.inputs.get("release", ()) if is_reference(each)), None)


def moved(ref: Ref) -> datetime | None:
    """Return when a ref was moved; None if it does not say so."""
    try:
        then = datetime.fromisoformat(str(ref.moved))
    except ValueError:
        return None
    return then.astimezone(UTC) if then.tzinfo else None


def add_current(terms: list[Term], current: Term) -> list[Term]:
    """Append what the ref names if the last term is of something else: it was moved without a new rollout."""
    return terms if terms and terms[-1].reference == current.reference else [*terms, current]


def close(terms: Iterable[Term]) -> list[Term]:
    """Return the terms with their ends, neighbours of the same reference as one, and roll-backs marked."""
    found: list[Term] = []
    for term in terms:
        if found and found[-1].reference == term.reference:
            continue
        if found:
            found[-1] = replace(found[-1], end=term.start or found[-1].start)
        found.append(replace(term, back=any(term.reference == other.reference for other in found)))
    return found
