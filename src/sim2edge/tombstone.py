"""Define the records of withdrawn batches and of erased artifacts, and how errors word them.

    withdrawn/batches/<batch>.json          the events of a batch: withdrawn, lifted, erased; the last one counts
    withdrawn/erased/<reference>.json       who erased an artifact's payload, when, why, and each file with its SHA-256
    withdrawn/erased/inbox/<batch>.json     the same of the batch's delivery

The admin and the DAGs that withdraw and erase may write below `withdrawn/` (`access.py`). `withdrawal.py` decides what
follows from the records.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from sim2edge.errors import Corrupt
from sim2edge.lines import first_problem

BATCHES, ERASED = "withdrawn/batches", "withdrawn/erased"


def _line(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not text:
        raise ValueError("expected one line of printable characters")
    return text


Reason = Annotated[str, Field(max_length=300), AfterValidator(_line)]
Person = Annotated[str, Field(max_length=120), AfterValidator(_line)]


class Event(BaseModel):
    """One decision on a batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Literal["withdraw", "lift", "erase"]
    reason: Reason
    by: Person
    at: AwareDatetime


class Tombstone(BaseModel):
    """`withdrawn/batches/<batch>.json`: every decision on a batch, oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    batch: str
    events: tuple[Event, ...] = Field(min_length=1)

    @property
    def last(self) -> Event:
        """The decision that counts."""
        return self.events[-1]

    @property
    def withdrawn(self) -> bool:
        """Whether the batch is withdrawn now."""
        return self.last.action != "lift"

    @property
    def erased(self) -> bool:
        """Whether its data were erased, or an erasure has begun: that cannot be lifted."""
        return self.last.action == "erase"

    @property
    def why(self) -> str:
        """Who withdrew it, when and why, for the end of an error line."""
        done = "erased" if self.erased else "withdrawn"
        return f"{done} on {self.last.at:%Y-%m-%d} by {self.last.by}: {self.last.reason}"

    def to_json(self) -> bytes:
        """Return the record as stored on the bus."""
        return self.model_dump_json(indent=1).encode()


class ErasedFile(BaseModel):
    """An object that was deleted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Erasure(BaseModel):
    """`withdrawn/erased/<what>.json`: the proof of what was erased; written before the first object is deleted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    what: str = Field(description="reference of the artifact, `inbox/<batch>`, or `leftovers/<reference>`")
    batch: str = Field(description="the withdrawn batch")
    reason: Reason
    by: Person
    at: AwareDatetime
    files: tuple[ErasedFile, ...]

    @property
    def why(self) -> str:
        """The error line of a reader."""
        return f"{self.what}: erased on {self.at:%Y-%m-%d} by {self.by}: {self.reason}"

    def to_json(self) -> bytes:
        """Return the record as stored on the bus."""
        return self.model_dump_json(indent=1).encode()


def erasure_key(what: str) -> str:
    """Return the key of the record of an erased artifact, or of a delivery, `inbox/<batch>`."""
    return f"{ERASED}/{what}.json"


def tombstone_key(batch: str) -> str:
    """Return the key of a batch's record."""
    return f"{BATCHES}/{batch}.json"


def parse_tombstone(data: bytes, batch: str) -> Tombstone:
    """Read the record of a batch.

    Raises:
        Corrupt: it is not one, or that of another batch.
    """
    key = tombstone_key(batch)
    try:
        found = Tombstone.model_validate_json(data)
    except ValidationError as error:
        raise Corrupt(f"{key}: {first_problem(error, 'content')}") from error
    if found.batch != batch:
        raise Corrupt(f"{key}: batch: is '{found.batch}'")
    return found


def parse_erasure(data: bytes, what: str) -> Erasure:
    """Read the record of an erased artifact or delivery.

    Raises:
        Corrupt: it is not one.
    """
    try:
        return Erasure.model_validate_json(data)
    except ValidationError as error:
        raise Corrupt(f"{erasure_key(what)}: {first_problem(error, 'content')}") from error
