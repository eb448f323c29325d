"""Take the fingerprint of a log, by which others that repeat it are recognised (`repeats.py`)."""

import hashlib

import numpy as np

from sim2edge.ingest.understand import Understood
from sim2edge.manifest import File
from sim2edge.repeats import SKETCH, Fingerprint


def fingerprint_of(source: File, understood: Understood) -> Fingerprint:
    """Return the fingerprint of a log."""
    log = understood.log
    different = sorted({digest.hex() for digest in log.digests})
    messages = hashlib.blake2b(b"".join(log.digests), digest_size=16)
    for role, stream in sorted(log.streams.items()):
        messages.update(f"{role} {stream.stamps}".encode())
        for value in stream.values:
            messages.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return Fingerprint(
        file=source.path,
        sha256=source.sha256,
        messages=messages.hexdigest(),
        pictures=len(different),
        sketch=tuple(different[:SKETCH]),
    )
