"""What the device has to say: one JSON object a line on standard error, for the journal."""

import json
import sys


def log(event: str, **fields: object) -> None:
    """Say one thing."""
    print(json.dumps({"event": event, **fields}), file=sys.stderr, flush=True)
