"""An update server in memory: a bus with a real repository, and releases to publish."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sim2edge.bus import Bus
from sim2edge.edge.bundle import write_bundle
from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.trial import Subject
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.storage.slots import Slots
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder
from sim2edge.push.repository import Repository
from sim2edge.push.run import pack, read_bundle


class OtaServer:
    """A repository, its keys, and releases made from the members of a bundle."""

    def __init__(self, bus: Bus, folder: Path, members: Callable[..., dict[str, bytes]]) -> None:
        self.bus = bus
        self.folder = folder
        self.keys = KeyFolder(folder / "keys")
        self._members = members
        self.clock = datetime.now(UTC)
        self.repository = Repository(bus, self.keys, PushConfig(), lambda: self.clock)
        self.repository.create()

    @property
    def root(self) -> bytes:
        """What devices are provisioned with."""
        return self.keys.root_file.read_bytes()

    def publish(
        self, release: str, ring: str = "canary", compressed: bool = False, window_s: int = 0, **fields: object
    ) -> None:
        """Make a release and point a ring at it; fields of its `release.json` may be replaced."""
        path = self.folder / f"{release}.tar"
        write_bundle(path, self._members(**{"release": release, **fields}))
        self.repository.publish(ring, pack(path, self.folder) if compressed else read_bundle(path), window_s)

    def age(self, **time: float) -> None:
        """Let everything published from now on look as if it had been published long ago."""
        self.clock -= timedelta(**time)

    def key(self, part: str) -> str:
        """The only object of the repository whose key contains `part`."""
        (key,) = [key for key in self.bus.list("ota") if part in key]
        return key

    def device(self, home: Path, ring: str = "canary", bus: Bus | None = None) -> tuple[OtaUpdater, Slots]:
        """A device that trusts this server."""
        slots = Slots(home)
        slots.roots.provision(self.keys.root_file)
        return OtaUpdater(bus or self.bus, ring, slots), slots


def subject(slots: Slots) -> Subject:
    """What evidence about the release on trial is about."""
    on_trial = slots.state.trial
    assert on_trial
    return Subject(on_trial.slot, slots.state.slots[on_trial.slot], start=1, trial=on_trial.number)


def accept(slots: Slots) -> None:
    """Let the release on trial pass."""
    about = subject(slots)
    slots.apply(lambda state: trial.accept(state, about))


def reject(slots: Slots, reason: str = "bad") -> None:
    """Let the release on trial fail by its own fault."""
    about = subject(slots)
    slots.apply(lambda state: trial.reject(state, about, reason, slots.now()))
