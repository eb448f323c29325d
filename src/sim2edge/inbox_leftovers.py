"""Delete what refused and crashed deliveries left in the inbox; called by `sim2edge gc`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sim2edge.bus import Bus, in_threads
from sim2edge.errors import BadInput
from sim2edge.inbox import FOLDER, find_ready, parse_ready


def sweep_inbox(bus: Bus, grace: timedelta) -> Sequence[str]:
    """Delete the folders of deliveries that their batch does not list; return the deleted keys.

    A batch without a valid `READY.json` keeps all, as one of its deliveries may still be completed; files that a
    producer uploaded by hand stay, too.

    Args:
        bus: the bucket.
        grace: keep what was written more recently than that.
    """
    deadline = datetime.now(UTC) - grace
    folders = [
        folder for found in in_threads(lambda batch: _unlisted(bus, batch), bus.folders("inbox")) for folder in found
    ]
    deleted = [key for folder in folders if _is_older(bus, folder, deadline) for key in bus.list(folder)]
    bus.delete(deleted)
    return deleted


def _unlisted(bus: Bus, batch: str) -> list[str]:
    """Return the folders of deliveries beside the one that `READY.json` lists."""
    try:
        folders = [name for name in bus.folders(f"inbox/{batch}") if FOLDER.fullmatch(name)]
        listing = find_ready(bus, batch) if folders else None
        if listing is None:
            return []
        ready = parse_ready(listing, batch)
    except BadInput:  # no batch id, or an invalid listing: not of `deliver`
        return []
    used = {ready.key(file).split("/")[2] for file in ready.files}
    return [f"inbox/{batch}/{name}" for name in folders if name not in used]


def _is_older(bus: Bus, folder: str, deadline: datetime) -> bool:
    return all(head.modified < deadline for head in bus.first_page(folder))
