"""Find what is in other batches, so that a batch does not repeat it: what was learned from must not be tested on.

A batch's artifact has `fingerprints.json`. One is read for each batch that is not withdrawn; those that were made of no
delivery have none. `refs` is where the refs of a stage's batches are: `refs/batches`.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from sim2edge.bus import Bus, in_threads
from sim2edge.errors import BadInput, Corrupt
from sim2edge.inbox import InboxConfig
from sim2edge.inbox import fetch as fetch_delivery
from sim2edge.lines import first_problem
from sim2edge.repeats import Fingerprint, Fingerprints, Known
from sim2edge.withdrawal import Withdrawn

FILE = "fingerprints.json"
OTHERS = "OTHER_BATCHES"
"""File beside a fetched delivery, with `batch<TAB>fingerprint` in each line. The stage reads no bucket."""


def fetch(bus: Bus, config: InboxConfig, batch: str, folder: Path, refs: str) -> Path:
    """Download a delivery, and what is known of other batches.

    Raises:
        BadInput: the listing is not the one that the config names.
        Corrupt: a file is missing or differs from the listing.
    """
    fetch_delivery(bus, config, batch, folder)
    known = [] if _is_made(bus, config, batch, refs) else read_others(bus, batch, refs)
    lines = (f"{name}\t{found.model_dump_json()}\n" for name, found in known)
    (folder / OTHERS).write_text("".join(lines), encoding="utf-8")
    return folder


def _is_made(bus: Bus, config: InboxConfig, batch: str, refs: str) -> bool:
    """Return whether the batch was made from this delivery before, so that making it again repeats nothing new."""
    ref = bus.read_ref(f"{refs}/{batch}")
    made = bus.find(ref.target) if ref else None
    return made is not None and made.config.get("ready") == config.ready


def read_others(bus: Bus, batch: str, refs: str) -> list[tuple[str, Fingerprint]]:
    """Return the batch and the fingerprint of each log or drive of the other batches that are not withdrawn.

    Raises:
        Corrupt: a batch's file is invalid.
    """
    withdrawn = Withdrawn(bus)
    made = [(ref.name.removeprefix(f"{refs}/"), ref.target) for ref in bus.list_refs(refs)]
    others = [(name, target) for name, target in made if name != batch and withdrawn.get(name) is None]
    found = in_threads(lambda other: _read(bus, other[1]), others)
    return [(name, each) for (name, _), logs in zip(others, found, strict=True) for each in logs]


def _read(bus: Bus, reference: str) -> tuple[Fingerprint, ...]:
    made = bus.find(reference)
    if made is None or all(file.path != FILE for file in made.files):
        return ()
    with tempfile.TemporaryDirectory() as folder:
        data = bus.fetch(made, Path(folder), [FILE]).path(FILE).read_bytes()
    try:
        return Fingerprints.model_validate_json(data).logs
    except ValidationError as error:
        raise Corrupt(f"{reference}/{FILE}: {first_problem(error)}") from error


def load_others(folder: Path) -> list[tuple[str, Fingerprint]]:
    """Return what `fetch` wrote beside a delivery."""
    lines = (folder / OTHERS).read_text(encoding="utf-8").splitlines()
    return [(name, Fingerprint.model_validate_json(text)) for name, _, text in (line.partition("\t") for line in lines)]


def refuse_repeated(
    logs: Sequence[Fingerprint], others: list[tuple[str, Fingerprint]], known: Known | None = None
) -> None:
    """Check that no log or drive is in another batch; `known`, still empty, has the words for it.

    Raises:
        BadInput: one is; names it, and the other batch with its file.
    """
    known = known or Known()
    for batch, found in others:
        known.add(found, f"{found.file} of batch '{batch}'")
    for log in logs:
        if repeated := known.find(log):
            raise BadInput(f"{log.file}: {repeated}: leave it out, or withdraw that batch")
