"""Decide which classes and floors the data can judge: enough test examples, and any training examples at all."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim2edge.errors import BadInput
from sim2edge.recipes.perception import Integers
from sim2edge.recipes.perception_frames import DatasetTable, Frames
from sim2edge.validate.config import ValidateConfig


@dataclass(frozen=True)
class Support:
    """The number of examples of one class (boxes) or floor (frames)."""

    examples: int
    episodes: int
    trained: int
    """In the training split of the dataset that the model learned from, copies included."""

    def lack(self, config: ValidateConfig) -> str:
        """Return what is missing to judge it, in a few words; empty if nothing is."""
        if not self.trained:
            return "no training examples"
        if self.examples < config.min_examples:
            return f"{self.examples} test examples, fewer than {config.min_examples}"
        if self.episodes < config.min_episodes:
            return f"in {self.episodes} test episodes, fewer than {config.min_episodes}"
        return ""


@dataclass(frozen=True)
class Supports:
    """The support of every class and floor, by name, in the dataset's order."""

    classes: Mapping[str, Support]
    floors: Mapping[str, Support]

    def not_judged(self, config: ValidateConfig) -> dict[str, list[str]]:
        """Return the names of the `classes` and `floors` that the data cannot judge."""
        return {
            what: [name for name, support in supports.items() if support.lack(config)]
            for what, supports in (("classes", self.classes), ("floors", self.floors))
        }


def count_support(frames: Frames, episodes: Integers, table: DatasetTable, trained_on: Path) -> Supports:
    """Count the examples of every class and floor.

    Args:
        frames: the test split.
        episodes: of each frame, [N].
        table: names of classes and floors.
        trained_on: `dataset.json` of the dataset that the model learned from; a name missing there was never seen.

    Raises:
        BadInput: that file lacks the counts.
    """
    counts = read_counts(trained_on)
    owners = np.repeat(episodes, np.diff(frames.starts))
    return Supports(
        _supports(table.classes, frames.classes, owners, counts["class_counts"]),
        _supports(table.floors, frames.floors, episodes, counts["floor_counts"]),
    )


def _supports(
    names: Sequence[str], kinds: Integers, episodes: Integers, trained: Mapping[str, int]
) -> dict[str, Support]:
    return {
        name: Support(int((kinds == n).sum()), len(np.unique(episodes[kinds == n])), trained.get(name, 0))
        for n, name in enumerate(names)
    }


def read_counts(path: Path) -> dict[str, dict[str, int]]:
    """Read `class_counts` and `floor_counts` of a `dataset.json`.

    Raises:
        BadInput: a field is missing, or not a mapping of names to counts.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    counts = {}
    for field in ("class_counts", "floor_counts"):
        try:
            counts[field] = {str(name): int(count) for name, count in content[field].items()}
        except KeyError:
            raise BadInput(f"{path.name}: field '{field}' is missing") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise BadInput(f"{path.name}: {field}: expected a number for each name") from error
    return counts
