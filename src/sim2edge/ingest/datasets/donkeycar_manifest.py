"""Read `manifest.json` of a donkeycar tub: its inputs, catalogs and deleted records."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim2edge.ingest.bad_log import BadLog

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """`manifest.json` of a tub: five lines of JSON."""

    inputs: list[str]
    metadata: Mapping[str, Any]
    """Of the user."""
    catalogs: list[str]
    deleted: frozenset[int]
    """Numbers of deleted records, from 0."""
    following: int
    """`_index` of the record that would be written next."""


def read_manifest(root: Path) -> Manifest:
    """Read the manifest of a tub.

    Raises:
        BadLog: it is missing or damaged.
    """
    try:
        lines = (root / MANIFEST).read_text(encoding="utf-8").splitlines()
        inputs, _, metadata, _, about = (json.loads(line) for line in lines[:5])
        found = Manifest(
            [str(each) for each in inputs],
            dict(metadata),
            [str(each) for each in about["paths"]],
            frozenset(map(int, about["deleted_indexes"])),
            int(about["current_index"]),
        )
    except FileNotFoundError as error:
        raise BadLog(f"{MANIFEST}: missing") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadLog(f"{MANIFEST}: not the five lines of a tub: damaged or truncated") from error
    outside = next((path for path in found.catalogs if Path(path).name != path), None)
    if outside is not None:
        raise BadLog(f"{MANIFEST}: the catalog '{outside}' leads out of the tub")
    return found
