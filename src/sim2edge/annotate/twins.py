"""Take fingerprints of pictures, by which batches that repeat them are recognised (`repeats.py`)."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from sim2edge.annotate.understand import Understood
from sim2edge.other_batches import refuse_repeated
from sim2edge.repeats import SKETCH, Fingerprint, Known

SAME = "has the same pictures as"


def refuse_known(prints: Sequence[Fingerprint], others: list[tuple[str, Fingerprint]]) -> None:
    """Check that another batch has not the same pictures.

    Raises:
        BadInput: it has; names a picture or annotation file here and there.
    """
    refuse_repeated(prints, others, Known(SAME, SAME))


def fingerprints_of(found: Understood, folder: Path) -> tuple[Fingerprint, ...]:
    """Return a fingerprint of each drive that has pictures, and of all together: others may divide them otherwise."""
    return tuple(_fingerprints(found, folder))


def _fingerprints(found: Understood, folder: Path) -> Iterator[Fingerprint]:
    every: set[bytes] = set()
    drives = 0
    for drive in found.drives:
        paths = [item.path for item in drive.items if item.path is not None]
        if paths:
            pictures = {hashlib.sha256((folder / path).read_bytes()).digest() for path in paths}
            yield _fingerprint(paths[0], pictures)
            every |= pictures
            drives += 1
    if drives > 1:
        yield _fingerprint(found.annotations[0], every)


def _fingerprint(name: str, pictures: set[bytes]) -> Fingerprint:
    different = sorted(pictures)
    whole = hashlib.sha256(b"".join(different)).hexdigest()
    sketch = tuple(digest.hex()[:16] for digest in different[:SKETCH])
    return Fingerprint(file=name, sha256=whole, messages=whole[:32], pictures=len(different), sketch=sketch)
