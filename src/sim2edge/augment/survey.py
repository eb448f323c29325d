"""Survey the labels in a first pass: the split of each episode, and the frames that show each class and floor."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from sim2edge.augment.balance import repeat_factors
from sim2edge.augment.config import AugmentConfig
from sim2edge.augment.frames_reader import Frames
from sim2edge.augment.split import SPLITS, split_of
from sim2edge.errors import BadInput
from sim2edge.frames.continuity import Moment
from sim2edge.frames.drives import Piece, find_drives
from sim2edge.recipes.perception import CLASSES, FLOORS


@dataclass
class Survey:
    """Counts over the frames of all batches."""

    split: dict[str, str] = field(default_factory=dict)
    """Episode id to split."""
    drive: Mapping[str, str] = field(default_factory=dict)
    """Episode id to the key of its drive."""
    frames: Counter[str] = field(default_factory=Counter)
    """Split to frames."""
    classes: Counter[str] = field(default_factory=Counter)
    """Class to training frames that show it."""
    floors: Counter[str] = field(default_factory=Counter)
    """Floor to training frames that show it."""

    @property
    def total(self) -> int:
        """Number of all frames."""
        return sum(self.frames.values())

    def episodes(self, split: str) -> int:
        """Return the number of episodes in a split."""
        return sum(each == split for each in self.split.values())

    def drives(self, split: str) -> int:
        """Return the number of drives in a split."""
        return len({self.drive[episode] for episode, each in self.split.items() if each == split})

    def factors(self, config: AugmentConfig) -> Mapping[str, float]:
        """Return, by label, the factor on the usual number of copies of its frames."""
        both = (repeat_factors(counts, config.oversample, config.max_repeat) for counts in (self.classes, self.floors))
        return {label: factor for factors in both for label, factor in factors.items()}


def survey(batches: Sequence[Frames], config: AugmentConfig) -> Survey:
    """Survey the labels of all batches.

    Raises:
        BadInput: an episode is in two batches, a class or floor is unknown, or a split has no episode.
    """
    found = Survey(drive=find_drives([piece for batch in batches for piece in read_pieces(batch)]))
    owner: dict[str, str] = {}
    for batch in batches:
        first_row = 0
        for table in batch.tables(["episode_id", "floor", "boxes.list.element.class"]):
            for episode_id in table["episode_id"].unique().to_pylist():
                if owner.setdefault(episode_id, batch.reference) != batch.reference:
                    raise BadInput(f"{batch.reference}: episode {episode_id} is in {owner[episode_id]} too")
                found.split[episode_id] = split_of(found.drive[episode_id], config.validation, config.test)
            _check_names(table["floor"], FLOORS, f"{batch.reference}/frames.parquet", "floor", first_row)
            _count(table, found, f"{batch.reference}/frames.parquet", first_row)
            first_row += len(table)
    _check_splits(found, config)
    return found


ORIGINS = ["episode_id", "drive", "recorded_s", "x_m", "y_m"]


def read_pieces(batch: Frames) -> list[Piece]:
    """Return what is known of each episode's origin."""
    pieces: dict[str, Piece] = {}
    for table in batch.tables(ORIGINS):
        if table["drive"].null_count == table["recorded_s"].null_count == len(table):
            pieces |= {name: Piece(name) for name in table["episode_id"].unique().to_pylist() if name not in pieces}
            continue
        for name, drive, time_s, x_m, y_m in zip(*(table[each].to_pylist() for each in ORIGINS), strict=True):
            here = None if time_s is None else Moment(time_s, x_m, y_m)
            before = pieces.get(name)
            pieces[name] = Piece(name, drive, before.first if before and before.first else here, here)
    return list(pieces.values())


def _count(table: pa.Table, found: Survey, where: str, first_row: int) -> None:
    boxes = table["boxes"].combine_chunks()
    parents = pc.list_parent_indices(boxes)
    names = boxes.flatten().field("class")
    _check_names(names, CLASSES, where, "class", first_row, parents)
    splits = [found.split[episode_id] for episode_id in table["episode_id"].to_pylist()]
    found.frames.update(splits)
    train = [split == "train" for split in splits]
    floors = table["floor"].to_pylist()
    found.floors.update(floor for floor, kept in zip(floors, train, strict=True) if kept)
    shown = set(zip(parents.to_pylist(), names.to_pylist(), strict=True))
    found.classes.update(name for row, name in shown if train[row])


def _check_names(
    column: pa.Array, known: Sequence[str], where: str, noun: str, first_row: int, rows: pa.Array | None = None
) -> None:
    wrong = pc.invert(pc.is_in(column, pa.array(known)))
    if pc.any(wrong).as_py():
        index = pc.index(wrong, True).as_py()
        row = first_row + (index if rows is None else rows[index].as_py())
        raise BadInput(f"{where}: row {row}: {noun} '{column[index].as_py()}' is not one of: {', '.join(known)}")


def _check_splits(found: Survey, config: AugmentConfig) -> None:
    for split in SPLITS:
        if not found.episodes(split):
            drives = len(set(found.drive.values()))
            together = f" ({drives} drives)" if drives < len(found.split) else ""
            shares = f"validation={config.validation:g}, test={config.test:g}"
            raise BadInput(
                f"the {split} split is empty: none of {len(found.split)} episodes{together} falls into it ({shares}); "
                "add episodes or change the shares"
            )
