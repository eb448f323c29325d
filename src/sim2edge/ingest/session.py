"""Tell which session of a dataset a log was made of: `datasets/` writes it into the log's metadata."""

import json
from pathlib import Path

from mcap.reader import SeekingReader

from sim2edge.ingest.bad_log import DAMAGE, MAX_RECORD

METADATA = "dataset"
"""Name of the MCAP metadata record with the origin of a drive."""


def session_of(path: Path) -> str | None:
    """Return what tells the session from all others: its name, and the digests of the dataset's files.

    None: the log was not made of a dataset with sessions, or is cut or damaged.
    """
    if path.suffix != ".mcap" or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            reader = SeekingReader(file, record_size_limit=MAX_RECORD)
            for record in reader.iter_metadata() if reader.get_summary() else ():
                if record.name == METADATA and "session" in record.metadata:
                    return json.dumps([record.metadata[key] for key in ("session", "files") if key in record.metadata])
    except DAMAGE:
        return None
    return None
