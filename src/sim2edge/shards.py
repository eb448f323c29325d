"""Cut the work of one artifact into shards, for several independent runs.

    shard = parse_shard("3/8")
    list(shard.share(20))       # [2, 10, 18]: this run's units of work

A unit of work (an episode) is the same in whichever shard it is produced, so the shards together are the whole.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sim2edge.errors import BadInput

MAXIMUM = 1000
"""The largest number of shards; more are a mistake."""


@dataclass(frozen=True)
class Shard:
    """Share `number` of `of`, counted from 1."""

    number: int
    of: int

    def share(self, units: int) -> range:
        """Return this shard's indices, out of `units` from 0: every `of`-th, so that long units are spread."""
        return range(self.number - 1, units, self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def parse_shard(text: str) -> Shard:
    """Parse `<number>/<of>`.

    Raises:
        BadInput: the text has another form, or the number is not within 1..of.
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if not match:
        raise BadInput(f"shard '{text}': expected <number>/<of>, such as 3/8")
    shard = Shard(int(match[1]), check_count(match[2]))
    if not 1 <= shard.number <= shard.of:
        raise BadInput(f"shard '{text}': the number is not within 1..{shard.of}")
    return shard


def check_count(text: str | int) -> int:
    """Return the number of shards.

    Raises:
        BadInput: it is not a whole number within 1..`MAXIMUM`.
    """
    if not re.fullmatch(r"[0-9]{1,6}", str(text)) or not 1 <= int(text) <= MAXIMUM:
        raise BadInput(f"'{text}' is not a number of shards: expected 1 to {MAXIMUM}")
    return int(text)


def all_shards(of: int) -> Sequence[Shard]:
    """Return all shards of an artifact."""
    return [Shard(number, of) for number in range(1, of + 1)]


def name_shards(shards: Sequence[Shard]) -> str:
    """Return shards in words, the first few named: `3/8, 5/8`."""
    words = [str(shard) for shard in shards]
    return ", ".join(words if len(words) <= 8 else [*words[:7], f"and {len(words) - 7} more"])
