"""Recognise recordings and sets of pictures that repeat another one, within a batch and between batches.

    known = Known()
    known.find(fingerprint)         # what it repeats, or None
    known.add(fingerprint, "a.mcap")

One repeats another one if the files or all their messages are the same, or if half of the different pictures of the
smaller one are in the other. Each picture counts once, however often it is sent: a robot that stands still in a
simulator sends the same picture over and over, as another one may in the same place.
"""

from collections import Counter
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

SKETCH = 128
"""Digests kept of a log: the least ones of its different pictures, so that those of two logs can be compared."""
MIN_COMMON = 5
"""Least number of common pictures that can be no coincidence."""
MAX_OWNERS = 64
"""Logs that are remembered for a digest; a picture of more logs tells nothing."""


class Fingerprint(BaseModel):
    """What is kept of a log to recognise it."""

    model_config = ConfigDict(frozen=True)

    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    messages: str = Field(pattern="^[0-9a-f]{32}$")
    """Digest of the stamps, pictures and values of all roles."""
    pictures: int = Field(ge=0)
    """Number of different pictures."""
    sketch: tuple[str, ...] = Field(max_length=SKETCH)
    """The least digests of pictures, 16 hex digits each, sorted."""


class Fingerprints(BaseModel):
    """`fingerprints.json` of a batch."""

    model_config = ConfigDict(frozen=True)

    logs: tuple[Fingerprint, ...]


@dataclass
class Known:
    """The logs known so far, by what they can be recognised by."""

    same_file: str = "is the same file as"
    same_messages: str = "has the same messages as"
    _logs: list[tuple[Fingerprint, str]] = field(default_factory=list)
    _exact: dict[str, int] = field(default_factory=dict)
    _owners: dict[str, list[int]] = field(default_factory=dict)

    def add(self, found: Fingerprint, name: str) -> None:
        """Remember a log under a name."""
        number = len(self._logs)
        self._logs.append((found, name))
        for digest in (found.sha256, found.messages):
            self._exact.setdefault(digest, number)
        for digest in found.sketch:
            owners = self._owners.setdefault(digest, [])
            if len(owners) < MAX_OWNERS:
                owners.append(number)

    def find(self, found: Fingerprint) -> str | None:
        """Return in words what a log repeats: `is the same file as a.mcap`; None: nothing that is known."""
        if (same := self._exact.get(found.sha256)) is not None:
            return f"{self.same_file} {self._logs[same][1]}"
        if (same := self._exact.get(found.messages)) is not None:
            return f"{self.same_messages} {self._logs[same][1]}"
        common = Counter(number for digest in found.sketch for number in self._owners.get(digest, ()))
        for number, count in common.most_common():
            if count < MIN_COMMON:
                break
            other, name = self._logs[number]
            share = common_share(found, other)
            if share >= 0.5:
                return f"has {share:.0%} of its pictures in common with {name}"
        return None


def common_share(one: Fingerprint, other: Fingerprint) -> float:
    """Return the estimated share of the different pictures of the smaller log that the other one has, 0..1.

    Both sketches are complete below the lesser of their ends, so there they can be compared.
    """
    ends = [each.sketch[-1] for each in (one, other) if each.pictures > len(each.sketch)]
    end = min(ends, default="g")
    sets = [{digest for digest in each.sketch if digest <= end} for each in (one, other)]
    return len(sets[0] & sets[1]) / max(1, min(map(len, sets)))
