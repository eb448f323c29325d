"""Read the status of a device at the device itself: what its agent wrote, with live counters while it runs.

read_status(home)
"""

import json
from pathlib import Path
from typing import Any

from sim2edge.edge.storage.durable import read_regular
from sim2edge.edge.storage.home import RuntimeFolder, is_locked, read_token
from sim2edge.edge.supervision.supervisor import probe
from sim2edge.errors import BadInput

MAX_STATUS_BYTES = 1024 * 1024
LIVE = ("inferences", "errors", "latency_ms_p50")


def read_status(home: Path) -> dict[str, Any]:
    """Return the status of the device in `home`; `state` is `stopped` when no agent runs.

    Raises:
        BadInput: no device has ever run there.
    """
    folders = [home, *RuntimeFolder(home).existing()]
    content = _newest(folders)
    if content is None:
        raise BadInput(f"{home}: no status.json: no device has run here")
    if not is_locked(home):
        return content | {"state": "stopped"}
    token = next(filter(None, map(read_token, folders)), "")
    live = probe(content["port"], token) if content.get("port") and token else None
    return content | {name: live[name] for name in LIVE if live and name in live}


def _newest(folders: list[Path]) -> dict[str, Any] | None:
    found = []
    for folder in folders:
        path = folder / "status.json"
        try:
            content = json.loads(read_regular(path, MAX_STATUS_BYTES))
            when = path.stat().st_mtime_ns
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            found.append((when, content))
    return max(found, key=lambda each: each[0])[1] if found else None
