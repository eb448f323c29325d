"""What has arrived in the inbox."""

from collections.abc import Collection

from sim2edge.bus import Bus


def waiting(bus: Bus) -> Collection[str]:
    """The batches that are complete and not registered."""
    raise NotImplementedError
