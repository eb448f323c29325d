"""Store the checkpoints from which a run resumes after it was killed."""

from pathlib import Path

from sim2edge.bus import Bus


class NoCheckpoints:
    """For a run that is never resumed, and may not find the checkpoints of another one."""

    def save(self, path: Path) -> None:
        """Do nothing."""

    def restore(self, name: str, into: Path) -> None:
        """Return None."""


class BusCheckpoints:
    """Checkpoints below the artifact's own folder, which readers ignore."""

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
