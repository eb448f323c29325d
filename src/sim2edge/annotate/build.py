"""Make frames of annotated pictures: decode, compare with the annotation's size, scale the boxes, resize."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sim2edge.annotate.coco_reader import Annotated, Label, floor_of
from sim2edge.annotate.config import AnnotateConfig
from sim2edge.annotate.understand import Drive, Item
from sim2edge.frames.episode import Defect, Episode, Quarantined
from sim2edge.frames.picture import fit_image, to_fraction
from sim2edge.frames.tables import measured_schema

ENDS = ((b"\xff\xd8", b"\xff\xd9"), (b"\x89PNG", b"IEND\xaeB`\x82"))
"""How JPEG and PNG files begin, and what a whole one has at its end."""


def build_episodes(batch: str, drives: Sequence[Drive], folder: Path, config: AnnotateConfig) -> Iterator[Episode]:
    """Yield an episode of each drive; what cannot become a frame is quarantined with its reason."""
    seen: dict[str, str] = {}
    for index, drive in enumerate(drives):
        columns = {"episode_id": f"{batch}.{index:04d}", "drive": drive.name_among(batch)}
        yield _build_episode(columns, drive.items, folder, config, seen)


def _build_episode(
    columns: dict[str, Any], items: Sequence[Item], folder: Path, config: AnnotateConfig, seen: dict[str, str]
) -> Episode:
    identity = columns["episode_id"]
    rows: list[dict[str, Any]] = []
    quarantined: list[Quarantined] = []
    for frame, item in enumerate(items):
        try:
            row = build_row(item, folder, config, seen)
        except Defect as defect:
            quarantined.append(Quarantined(identity, frame, f"{defect} ({item.image.name})"))
            continue
        rows.append({**columns, "frame": frame, **row})
    table = pa.Table.from_pylist(rows, measured_schema()) if rows else None
    return Episode(identity, len(items), table, quarantined)


def build_row(item: Item, folder: Path, config: AnnotateConfig, seen: dict[str, str]) -> dict[str, Any]:
    """Return the columns of one frame; `seen` is the content of every picture so far.

    Raises:
        Defect: the picture is missing, damaged, of another size or a twin, or the labels are wrong.
    """
    image = item.image
    if item.path is None:
        raise Defect("image_missing: not in the folder")
    if image.defect:
        raise Defect(image.defect)
    data = (folder / item.path).read_bytes()
    other = seen.setdefault(hashlib.sha256(data).hexdigest(), image.name)
    if other != image.name:
        raise Defect(f"twin: has the content of {other}")
    pixels = decode(data, image.size)
    picture = fit_image(pixels, config)
    return {
        "image": picture.jpeg,
        "floor": choose_floor(image, config),
        "boxes": [scale_label(label, picture.captured, config.box_slack_px) for label in image.labels],
        "image_contrast": picture.contrast,
        "image_mean": picture.mean,
        "image_square": picture.square,
    }


def choose_floor(image: Annotated, config: AnnotateConfig) -> str:
    """Return the floor of an image: by its annotations, or else by the config.

    Raises:
        Defect: there is none, or there are several.
    """
    floors = {floor_of(name, config) for name in image.floors} or {config.floor} - {""}
    if not floors:
        raise Defect("unknown_floor: not annotated: name one with floor=")
    if len(floors) > 1:
        raise Defect(f"unknown_floor: several: {', '.join(sorted(floors))}")
    return floors.pop()


def decode(data: bytes, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Decode a whole picture to BGR, turned as it was annotated.

    A picture with an orientation in its EXIF data is annotated upright, as browsers and most tools show it, unless only
    its stored size is the one of the annotation file.

    Raises:
        Defect: it is damaged, or of another size than `size` (width, height).
    """
    for start, end in ENDS:
        if data.startswith(start) and end not in data[-(64 << 10) :]:
            raise Defect("image_undecodable: cut off")
    upright = _decode(data, cv2.IMREAD_COLOR)
    if size is None or (upright.shape[1], upright.shape[0]) == size:
        return upright
    stored = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if (stored.shape[1], stored.shape[0]) == size:
        return stored
    found, said = f"{upright.shape[1]}x{upright.shape[0]}", f"{size[0]}x{size[1]}"
    raise Defect(f"image_size: is {found}, but {said} in the annotations")


def _decode(data: bytes, flags: int) -> NDArray[np.uint8]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:
        raise Defect(f"image_undecodable: {error.err}") from error
    if image is None:
        raise Defect("image_undecodable: not a picture")
    return np.asarray(image, np.uint8)


def scale_label(label: Label, captured: tuple[int, int], slack_px: float) -> dict[str, Any]:
    """Return a box of a frame: corners as fractions of the picture."""
    width, height = captured
    x, y, wide, high = label.box
    return {
        "class": label.name,
        "x_min": to_fraction(x, width, slack_px),
        "y_min": to_fraction(y, height, slack_px),
        "x_max": to_fraction(x + wide, width, slack_px),
        "y_max": to_fraction(y + high, height, slack_px),
        "distance_m": label.distance_m,
        "bearing_rad": label.bearing_rad,
    }
