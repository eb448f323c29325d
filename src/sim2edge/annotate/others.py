"""Look up the pictures of other batches of this stage when a delivery is fetched."""

from pathlib import Path

from sim2edge import other_batches
from sim2edge.bus import Bus
from sim2edge.inbox import InboxConfig

REFS = "refs/frames"


def fetch(bus: Bus, config: InboxConfig, batch: str, folder: Path) -> Path:
    """Download a delivery, and what is known of other batches (`other_batches.fetch`).

    Raises:
        BadInput: the listing is not the one that the config names.
        Corrupt: a file is missing or differs from the listing.
    """
    return other_batches.fetch(bus, config, batch, folder, REFS)
