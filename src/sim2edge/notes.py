"""Keep what people say of an artifact: a name, a star, a text, and whether it is archived; `notes/<reference>.json`.

    edit(bus, "model/demo-1/3f2a9c0d11e4b7a6", Change(star=True, name="best so far"), "ann", now)
    read_note(bus, "model/demo-1/3f2a9c0d11e4b7a6").name

A note is the only mutable record of an artifact and changes nothing of it. It is replaced by compare-and-swap, so that
of two people who edit it at once both changes count. A starred artifact is live for retention (`retire.py`); an
archived one is hidden in lists, not deleted.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from sim2edge.bus import Bus, in_threads
from sim2edge.errors import BadInput, Conflict, Corrupt
from sim2edge.lines import first_problem
from sim2edge.manifest import split_reference

FOLDER = "notes"
MAX_NAME, MAX_TEXT, MAX_BYTES = 60, 2000, 16_384
"""Characters of a name and of a text; bytes of a record."""
TRIES = 5
"""Attempts to replace a note that others are replacing, too."""


def _line(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("expected one line of printable characters")
    return text


def _lines(text: str) -> str:
    if not all(line.isprintable() for line in text.split("\n")) or text != text.strip():
        raise ValueError("expected lines of printable characters")
    return text


class Note(BaseModel):
    """`notes/<reference>.json`: what people say of an artifact, and who said it last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    reference: str
    name: Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_line)] = ""
    star: bool = False
    archived: bool = False
    text: Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_lines)] = ""
    by: Annotated[str, Field(min_length=1, max_length=120), AfterValidator(_line)]
    at: AwareDatetime

    @property
    def says_nothing(self) -> bool:
        """Whether it is as if there were none."""
        return not (self.name or self.star or self.archived or self.text)

    def to_json(self) -> bytes:
        """Return the record as stored on the bus."""
        return self.model_dump_json(indent=1).encode()


@dataclass(frozen=True)
class Change:
    """What to change of a note; None: nothing."""

    name: str | None = None
    star: bool | None = None
    archived: bool | None = None
    text: str | None = None

    @property
    def empty(self) -> bool:
        """Whether it changes nothing."""
        return self == Change()


def apply(found: Note | None, reference: str, change: Change, by: str, now: datetime) -> Note:
    """Return a note with a change.

    Raises:
        BadInput: a field is too long or not printable; the message names it.
    """
    before = found.model_dump() if found else {}
    wanted = {name: value for name, value in asdict(change).items() if value is not None}
    try:
        content = {**before, "reference": reference, **wanted, "by": by, "at": now.astimezone(UTC)}
        return Note.model_validate(content)
    except ValidationError as error:
        raise BadInput(f"note: {first_problem(error)}") from error


def note_key(reference: str) -> str:
    """Return the key of an artifact's note.

    Raises:
        BadInput: the text is not an artifact reference.
    """
    return f"{FOLDER}/{'/'.join(split_reference(reference))}.json"


def parse_note(data: bytes, reference: str) -> Note:
    """Read a note.

    Raises:
        Corrupt: it is not one, or that of another artifact.
    """
    key = note_key(reference)
    try:
        if len(data) > MAX_BYTES:
            raise Corrupt(f"{key}: larger than {MAX_BYTES} bytes")
        found = Note.model_validate_json(data)
    except ValidationError as error:
        raise Corrupt(f"{key}: {first_problem(error, 'content')}") from error
    if found.reference != reference:
        raise Corrupt(f"{key}: reference: is '{found.reference[:80]}'")
    return found


def read_note(bus: Bus, reference: str) -> tuple[Note, str] | None:
    """Return the note of an artifact and its tag; None if there is none.

    Raises:
        Corrupt: it cannot be read.
    """
    found = bus.get_tagged(note_key(reference))
    return (parse_note(found[0], reference), found[1]) if found else None


def edit(bus: Bus, reference: str, change: Change, by: str, now: datetime) -> Note:
    """Change the note of a committed artifact, and return it.

    Raises:
        BadInput: a field is invalid.
        Missing: the artifact does not exist.
        Conflict: others kept changing it meanwhile.
    """
    bus.open(reference)
    for remaining in reversed(range(TRIES)):
        found = read_note(bus, reference)
        note = apply(found[0] if found else None, reference, change, by, now)
        try:
            tag = found[1] if found else None
            bus.put(note_key(reference), note.to_json(), only_new=tag is None, if_tag=tag)
        except Conflict:
            if not remaining:
                raise
        else:
            return note
    raise AssertionError("unreachable")


def reference_of(key: str) -> str | None:
    """Return the reference in the key of a note; None if the key is not one."""
    reference = key.removeprefix(f"{FOLDER}/").removesuffix(".json")
    try:
        return reference if key == note_key(reference) else None
    except BadInput:
        return None


def starred(bus: Bus) -> Sequence[str]:
    """Return the references of starred artifacts, and of those whose note cannot be read: they might be."""
    references = [reference for key in bus.list(FOLDER) if (reference := reference_of(key))]

    def is_starred(reference: str) -> bool:
        try:
            found = read_note(bus, reference)
        except Corrupt:
            return True
        return bool(found and found[0].star)

    stars = in_threads(is_starred, references)
    return [reference for reference, star in zip(references, stars, strict=True) if star]
