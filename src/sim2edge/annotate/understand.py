"""Read a folder: its annotation files, the picture of each image they list, and which images are one drive.

drives = understand(folder, config, progress)
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sim2edge.annotate.coco_reader import Annotated, is_coco, load, read_content
from sim2edge.annotate.config import AnnotateConfig
from sim2edge.annotate.find_files import Pictures, choose_annotations, list_folder
from sim2edge.errors import BadInput
from sim2edge.frames.drives import DATED
from sim2edge.lines import quote
from sim2edge.stage import Progress

MAX_PAUSE_S = 60.0
"""Longest time between two pictures of one drive, of which people label one in some seconds."""
NUMBER = re.compile(r"\d+")
NUMBERED = re.compile(r"[a-z_]+=\d+")
"""A drive that is a number in a field."""
STAMP = re.compile(rf"{DATED.pattern}|(?<!\d)1\d{{9}}(?!\d)")
EXPORTED = re.compile(r"\.rf\.[0-9a-f]{8,}$|^[0-9a-f]{8}-")
"""What Roboflow adds behind, and Label Studio before, the name of a picture, at random."""
SPLITS = re.compile(
    r"(annotations?|images?|imgs?|data|default|jpegimages|train|test|val|valid|validation)\d*", re.IGNORECASE
)
"""Folders that say nothing about where pictures come from."""


@dataclass(frozen=True)
class Item:
    """One image of an annotation file, and its picture's path in the folder; None: missing."""

    image: Annotated
    path: str | None


@dataclass(frozen=True)
class Drive:
    """Images of one drive, in order."""

    name: str
    """Empty: nothing tells which drive they are of."""
    items: Sequence[Item]

    @property
    def unmistakable(self) -> bool:
        """Return whether another batch with this name has more of the same drive.

        So it is with the name of a video, and with date and time. Numbers, folders and heads such as `IMG_` are used
        for other drives, too.
        """
        named = self.items[0].image.sequence == self.name and not NUMBERED.fullmatch(self.name)
        return named or DATED.search(self.name) is not None

    def name_among(self, batch: str) -> str | None:
        """Return its name among the drives of all batches; None: it has none."""
        if not self.name:
            return None
        return self.name if self.unmistakable else f"{batch}/{self.name}"


@dataclass(frozen=True)
class Understood:
    """The content of a folder."""

    annotations: Sequence[str]
    """The annotation files."""
    drives: Sequence[Drive]

    @property
    def files(self) -> list[str]:
        """The files that are read."""
        pictures = {item.path for drive in self.drives for item in drive.items if item.path}
        return [*self.annotations, *sorted(pictures)]


def understand(folder: Path, config: AnnotateConfig, progress: Progress) -> Understood:
    """Read the annotation files of a folder.

    Raises:
        BadInput: there is none, one is wrong, no picture is there, or two images have the same picture.
    """
    files = list_folder(folder)
    annotations, items = [], list[Item]()
    pictures = Pictures(files)
    for path in choose_annotations(files, config.annotations):
        content = load(folder / path, path)
        if not config.annotations and not is_coco(content):
            progress.log(f"not COCO, left out: {path}")
            continue
        annotations.append(path)
        items += [Item(image, pictures.find(image.name, path)) for image in read_content(content, path, config)]
    check_items(items, annotations)
    return Understood(annotations, divide(items, config))


def check_items(items: Sequence[Item], annotations: Sequence[str]) -> None:
    """Check that there are pictures, and that no two images share one.

    Raises:
        BadInput: they do; the line names both.
    """
    if not annotations:
        raise BadInput(
            "no COCO annotation file: export the labels as COCO (one JSON with images, annotations, categories)"
        )
    owner: dict[str, Item] = {}
    for item in items:
        if item.path is not None and (other := owner.setdefault(item.path, item)) is not item:
            where = item.image.file
            raise BadInput(f"{where}: file_name {quote(item.image.name)}: an image of {other.image.file} has it, too")
    if not owner:
        first = items[0].image
        raise BadInput(
            f"{first.file}: file_name {quote(first.name)}: no picture of {len(items)} images is in the folder"
        )


@dataclass(frozen=True)
class Stamp:
    """A time in the name of a picture: of the picture, or of the beginning of its drive."""

    head: str
    """What is before it, with the folder."""
    text: str
    time_s: float


def stamp_of(name: str) -> Stamp | None:
    """Return the time in a name, as a date or in seconds since 1970; None: there is none."""
    stem = stem_of(name.rpartition("/")[2])
    match = STAMP.search(stem)
    if match is None:
        return None
    digits = re.sub(r"\D", "", match[0])
    try:
        moment = datetime.strptime(f"{digits}+0000", "%Y%m%d%H%M%S%z") if len(digits) == 14 else None
    except ValueError:
        return None
    time_s = moment.timestamp() if moment else float(digits)
    return Stamp(f"{folder_of(name)}/{stem[: match.start()]}", match[0], time_s)


def cut_at_gaps(found: Sequence[tuple[Stamp, Item]]) -> Iterator[tuple[Stamp, Item]]:
    """Yield each image with the first stamp of its drive, which ends where nothing follows for `MAX_PAUSE_S`."""
    first = last = min((stamp for stamp, _ in found), key=lambda stamp: stamp.time_s)
    for stamp, item in sorted(found, key=lambda pair: pair[0].time_s):
        if stamp.time_s - last.time_s > MAX_PAUSE_S:
            first = stamp
        last = stamp
        yield first, item


def divide(items: Sequence[Item], config: AnnotateConfig) -> list[Drive]:
    """Divide images into drives, each in the order of its names."""
    groups: dict[str, list[Item]] = defaultdict(list)
    stamped: dict[str, list[tuple[Stamp, Item]]] = defaultdict(list)
    for item in items:
        stamp = stamp_of(item.image.name) if config.group == "auto" and not item.image.sequence else None
        if stamp:
            stamped[stamp.head].append((stamp, item))
        else:
            groups[drive_of(item, config)].append(item)
    for found in stamped.values():
        for stamp, item in cut_at_gaps(found):
            groups[f"{stamp.head}{stamp.text}".strip("/_-. ")].append(item)
    drives = [Drive(name, sorted(groups[name], key=order_of)) for name in sorted(groups, key=natural)]
    if config.group == "image":
        return [Drive("", drive.items) for drive in drives]
    first, *others = drives
    if config.group == "auto" and not others and not first.unmistakable and first.items[0].image.sequence is None:
        return [Drive("", block) for block in cut(first.items, config.block)]
    return drives


def drive_of(item: Item, config: AnnotateConfig) -> str:
    """Return the name of the drive of an image."""
    image = item.image
    folders, _, name = image.name.rpartition("/")
    if config.group == "image":
        return image.name
    if config.group == "folder":
        return folders
    return image.sequence or f"{folder_of(image.name)}/{head_of(name)}".strip("/_-. ")


def folder_of(name: str) -> str:
    """Return the folder of a picture, without those that say nothing about where it comes from."""
    return "/".join(part for part in name.split("/")[:-1] if not SPLITS.fullmatch(part))


def head_of(name: str) -> str:
    """Return the head that pictures of one drive share: the name without its last number."""
    stem = stem_of(name)
    numbers = list(NUMBER.finditer(stem))
    return stem[: numbers[-1].start()] if numbers else stem


def stem_of(name: str) -> str:
    """Return a file's name without what tools add to it."""
    return EXPORTED.sub("", EXPORTED.sub("", name.rpartition(".")[0]))


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts `f10` after `f9`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def order_of(item: Item) -> tuple[float, list[tuple[int, str]]]:
    """Return a key that sorts the images of a drive."""
    number = item.image.order
    return (number if number is not None else -1.0), natural(item.image.name)


def cut(items: Sequence[Item], block: int) -> list[list[Item]]:
    """Cut images that nothing tells apart into blocks of neighbours; pictures made of the same one stay together."""
    stems: Mapping[str, list[Item]] = defaultdict(list)
    for item in items:
        stems[stem_of(item.image.name)].append(item)
    blocks: list[list[Item]] = [[]]
    for same in stems.values():
        if len(blocks[-1]) + len(same) > block and blocks[-1]:
            blocks.append([])
        blocks[-1] += same
    return blocks
