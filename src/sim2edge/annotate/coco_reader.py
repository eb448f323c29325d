"""Read a COCO annotation file as labelling tools write it: the images it lists, each with its labels.

    images = read_file(path, "annotations/instances_default.json", config)

Ids may be numbers or strings, start anywhere and have gaps; `area`, `iscrowd`, `info`, `licenses` and the image's size
may be missing; unknown fields are ignored. What makes the file ambiguous is refused; what makes one image wrong is kept
as its defect, for the quarantine.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sim2edge.annotate.config import AnnotateConfig
from sim2edge.annotate.segments import box_of_segmentation
from sim2edge.errors import BadInput
from sim2edge.lines import join_lines, quote
from sim2edge.recipes.perception_names import CLASSES, FLOORS

SEQUENCE_FIELDS = ("drive", "episode_id", "video_id", "video", "video_name", "sequence", "sequence_id", "seq_id")
"""Fields of an image that name the drive it is of; a number, such as an id, means something in its file only."""
MAX_FRACTION = 1.5
"""Largest position or size of a box that is a fraction of the image; a little over 1 for boxes at its edge."""
FRACTIONS_REFUSED = 0.1
"""Share of such boxes that refuses a file."""
ORDER_FIELDS = ("frame", "frame_id", "frame_index", "frame_number")


@dataclass(frozen=True)
class Label:
    """One labelled object; `box` is x, y, width, height in pixels of the image."""

    name: str
    box: tuple[float, float, float, float]
    distance_m: float | None = None
    bearing_rad: float | None = None


@dataclass
class Annotated:
    """One image of an annotation file."""

    file: str
    """The annotation file."""
    name: str
    """`file_name`, with slashes."""
    size: tuple[int, int] | None
    """Width and height by the annotation file, pixels."""
    sequence: str | None
    """The drive by the fields of the image: its name, or `<field>=<number>`."""
    order: float | None
    floors: set[str] = field(default_factory=set)
    labels: list[Label] = field(default_factory=list)
    defect: str | None = None
    """`<reason>: <detail>`: why it cannot become a frame."""


def load(path: Path, shown: str) -> Any:
    """Return the content of a JSON file: UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        BadInput: it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        raise BadInput(f"{shown}: byte {error.start}: neither UTF-8 nor UTF-16: save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{shown}: not JSON: {join_lines(error)}: export it again") from error


def is_coco(content: Any) -> bool:
    """Return whether a JSON file is one of COCO annotations, right or wrong."""
    return isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content


def read_content(content: Any, shown: str, config: AnnotateConfig) -> list[Annotated]:
    """Return the images of an annotation file, in its order.

    Raises:
        BadInput: an id, a file name or a category is missing, repeated or unknown; the line names it.
    """
    if not is_coco(content):
        raise BadInput(f"{shown}: not COCO: expected an object with the lists images, annotations and categories")
    images = _read_images(_list(content, "images", shown), _read_videos(content), shown)
    categories = _read_categories(_list(content, "categories", shown), shown)
    seen: set[tuple[Any, ...]] = set()
    for number, each in enumerate(_list(content, "annotations", shown)):
        where = f"{shown}: annotation {_id(each, number)}"
        image, category = key(each.get("image_id")), key(each.get("category_id"))
        if image not in images:
            raise BadInput(f"{where}: image_id {_shown(each.get('image_id'))}: no image has this id")
        if category not in categories:
            raise BadInput(f"{where}: category_id {_shown(each.get('category_id'))}: no category has this id")
        identity = (image, category, repr(each.get("bbox")), repr(each.get("segmentation")))
        if identity not in seen:  # a repeated box would count twice
            seen.add(identity)
            _add(images[image], each, categories[category], config, shown)
    _refuse_fractions(images.values(), shown)
    return list(images.values())


def _add(
    image: Annotated, each: Mapping[str, Any], category: tuple[str, str], config: AnnotateConfig, shown: str
) -> None:
    """Add an annotation to its image: a floor, an object, or nothing."""
    name, parent = category
    if parent == "floor" or name in config.floors or tidy(name) in FLOORS:
        image.floors.add(floor_of(name, config))
        return
    meant = class_of(name, config, shown)
    if not meant or image.defect:
        return
    if each.get("iscrowd") not in (None, 0, False):
        image.defect = f"crowd: a region of several, '{name}': objects in it have no boxes"
        return
    box = _box(each)
    if isinstance(box, str):
        image.defect = box
        return
    distance, bearing = (_number(_field(each, name)) for name in ("distance_m", "bearing_rad"))
    image.labels.append(Label(meant, box, distance, bearing))


def class_of(name: str, config: AnnotateConfig, shown: str) -> str:
    """Return the class of a category; empty: its boxes are left out.

    Raises:
        BadInput: it is none of ours, and `classes` does not map it.
    """
    meant = config.classes.get(name, tidy(name))
    if meant in CLASSES or name in config.classes:
        return meant
    raise BadInput(
        f"{shown}: category {quote(name)} is not one of: {', '.join(CLASSES)}: say what it is, or that it is left out: "
        f"classes='{{{name}: box}}' or classes='{{{name}: \"\"}}'"
    )


def floor_of(name: str, config: AnnotateConfig) -> str:
    """Return the floor that a name in the annotations means; an unknown one unchanged, for the quarantine."""
    return config.floors.get(name, tidy(name) if tidy(name) in FLOORS else name)


def tidy(name: str) -> str:
    """Return a name in the form of ours: `Door Frame` is `door_frame`."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def key(value: Any) -> str | None:
    """Return an id as a string: 1, 1.0 and "1" are the same one; None if it is no id."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, int | str) else None


def _list(content: Mapping[str, Any], name: str, shown: str) -> Sequence[Mapping[str, Any]]:
    value = content.get(name)
    if not isinstance(value, list):
        raise BadInput(f"{shown}: {name}: expected a list")
    for number, each in enumerate(value):
        if not isinstance(each, dict):
            raise BadInput(f"{shown}: {name}: entry {number} is not an object")
    return value


def _id(each: Mapping[str, Any], number: int) -> str:
    return _shown(each["id"]) if "id" in each else f"number {number}"


def _shown(value: Any) -> str:
    return quote(value) if isinstance(value, str) else join_lines(repr(value), 60)


def _read_videos(content: Mapping[str, Any]) -> dict[str | None, str]:
    """Return the names in the list `videos`, which some tools add, by id."""
    videos = content.get("videos")
    named = [each for each in videos if isinstance(each, dict)] if isinstance(videos, list) else []
    names = ((key(each.get("id")), key(each.get("name", each.get("file_name")))) for each in named)
    return {identity: name for identity, name in names if name}


def _read_images(
    entries: Sequence[Mapping[str, Any]], videos: Mapping[str | None, str], shown: str
) -> dict[str | None, Annotated]:
    images: dict[str | None, Annotated] = {}
    for number, each in enumerate(entries):
        where, identity, name = f"{shown}: image {_id(each, number)}", key(each.get("id")), each.get("file_name")
        if identity is None:
            raise BadInput(f"{where}: id: missing, or neither a number nor a string")
        if identity in images:
            raise BadInput(f"{where}: id: another image has it, too")
        if not isinstance(name, str) or not name.strip():
            raise BadInput(f"{where}: file_name: missing")
        images[identity] = Annotated(
            shown, check_name(name, where), _size(each), _sequence(each, videos), _first_number(each, ORDER_FIELDS)
        )
        if isinstance(floor := _field(each, "floor"), str) and floor.strip():
            images[identity].floors.add(floor.strip())
    if not images:
        raise BadInput(f"{shown}: images: none")
    return images


def check_name(name: str, where: str) -> str:
    """Return a `file_name` as a relative path with slashes.

    Raises:
        BadInput: it is absolute, a URL, or leads out of the folder.
    """
    path = name.strip().replace("\\", "/")
    if path.startswith(("/", "~")) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path):
        raise BadInput(f"{where}: file_name {quote(name)}: absolute, or a URL: name a file of the delivered folder")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise BadInput(f"{where}: file_name {quote(name)}: leads out of the delivered folder")
    return "/".join(parts)


def _read_categories(entries: Sequence[Mapping[str, Any]], shown: str) -> dict[str | None, tuple[str, str]]:
    categories: dict[str | None, tuple[str, str]] = {}
    for number, each in enumerate(entries):
        where, identity, name = f"{shown}: category {_id(each, number)}", key(each.get("id")), each.get("name")
        if identity is None or identity in categories:
            raise BadInput(f"{where}: id: {'missing' if identity is None else 'another category has it, too'}")
        if not isinstance(name, str) or not name.strip():
            raise BadInput(f"{where}: name: missing")
        parent = each.get("supercategory")
        categories[identity] = name.strip(), tidy(parent) if isinstance(parent, str) else ""
    return categories


def _size(each: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = _number(each.get("width")), _number(each.get("height"))
    return (int(width), int(height)) if width and height and width > 0 and height > 0 else None


def _sequence(each: Mapping[str, Any], videos: Mapping[str | None, str]) -> str | None:
    found = ((name, key(_field(each, name))) for name in SEQUENCE_FIELDS)
    name, value = next(((name, value) for name, value in found if value), ("", None))
    if value and name == "video_id":
        value = videos.get(value, value)
    if value and value.isdecimal():
        return f"{name}={value}"
    return value and value.encode("utf-8", "replace").decode()  # JSON may have halves of surrogate pairs


def _first_number(each: Mapping[str, Any], names: Sequence[str]) -> float | None:
    return next((number for name in names if (number := _number(_field(each, name))) is not None), None)


def _field(each: Mapping[str, Any], name: str) -> Any:
    """Return a field of an image or annotation, or of its `attributes` or `extra`, as tools export custom fields."""
    for holder in (each, each.get("attributes"), each.get("extra")):
        if isinstance(holder, dict) and name in holder:
            return holder[name]
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _box(each: Mapping[str, Any]) -> tuple[float, float, float, float] | str:
    """Return the box of an annotation, by `bbox` or else by its segmentation; a defect if it has none."""
    bbox = each.get("bbox")
    if not bbox:
        bbox = box_of_segmentation(each.get("segmentation"))
    if bbox is None:
        return "labels_wrong_type: an annotation has neither bbox nor segmentation"
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        return f"labels_wrong_type: bbox {join_lines(repr(bbox), 60)}: write x, y, width, height as numbers, in pixels"
    x, y, width, height = map(float, bbox)
    return x, y, width, height


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refuse_fractions(images: Any, shown: str) -> None:
    """Refuse boxes within 1.5 pixels of the corner, a tenth or more: fractions of the image, as other formats have.

    Raises:
        BadInput: they are.
    """
    boxes = [label.box for image in images for label in image.labels]
    tiny = sum(min(box[2:]) > 0 and all(abs(value) <= MAX_FRACTION for value in box) for box in boxes)
    if boxes and tiny >= len(boxes) * FRACTIONS_REFUSED:
        how = "all" if tiny == len(boxes) else f"{tiny} of {len(boxes)}"
        raise BadInput(f"{shown}: bbox: {how} are within 0..1.5: fractions of the image: COCO has pixels")
