"""A device that signs, without an agent: its key, its runs, and the server's record of it."""

from pathlib import Path

from sim2edge.bus import Bus
from sim2edge.edge.server.identity import Signer, make_key
from sim2edge.enrol import register


class SigningDevice:
    """An enrolled device of the bus."""

    def __init__(self, bus: Bus, home: Path, name: str = "pi-1", ring: str = "canary") -> None:
        self.bus, self.home, self.name = bus, home, name
        self.public = make_key(home)
        register.change(bus, lambda records: register.enrol(records, name, self.public, ring))
        self.signer = Signer(home, name)

    def restart(self) -> None:
        """A new run of the agent."""
        self.signer = Signer(self.home, self.name)

    def sign(self, **said: object) -> bytes:
        """The next status, not sent yet."""
        return self.signer.envelope({"device": self.name, "state": "running", "release": "r1", "inferences": 3} | said)

    def send(self, content: bytes | None = None, **said: object) -> bytes:
        """Send the next status, or what is given."""
        sent = content if content is not None else self.sign(**said)
        self.bus.put(f"fleet/{self.name}/status.json", sent)
        return sent
