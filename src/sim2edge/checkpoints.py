"""Where a run keeps what it would go on from, if it were killed."""

from pathlib import Path

from sim2edge.bus import Bus


class NoCheckpoints:
    """Of a run that nobody goes on with, and that may not find what another one left."""

    def save(self, path: Path) -> None:
        """Keep nothing."""

    def restore(self, name: str, into: Path) -> None:
        """Find nothing."""


class BusCheckpoints:
    """Checkpoints below the artifact's own folder, where readers never look."""

    def __init__(self, bus: Bus, reference: str) -> None:
        self._bus = bus
        self._folder = f"{reference}/checkpoints"

    def save(self, path: Path) -> None:
        """See `sim2edge.stage.Checkpoints`."""
        self._bus.put(f"{self._folder}/{path.name}", path)

    def restore(self, name: str, into: Path) -> Path | None:
        """See `sim2edge.stage.Checkpoints`."""
        key = f"{self._folder}/{name}"
        if self._bus.size(key) is None:
            return None
        target = into / name
        with target.open("wb") as out:
            for chunk in self._bus.stream(key):
                out.write(chunk)
        return target
