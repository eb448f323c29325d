"""Log a device's events for the journal: one JSON object per line on standard error."""

import json
import sys


def log(event: str, **fields: object) -> None:
    """Write one event with its fields."""
    print(json.dumps({"event": event, **fields}), file=sys.stderr, flush=True)
