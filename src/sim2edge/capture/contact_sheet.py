"""Draw the contact sheet of a batch: one picture of frames from its episodes with their boxes, as an overview.

    write_contact_sheet(output, results, config.episodes)      # a batch, or a shard of it
    gather_contact_sheet(output, tiles, results)               # the batch, from its shards' tiles

The frames are evenly spaced over the episodes of the whole batch and over their time, not hand-picked. Each is also a
file of its own (`contact_sheet.07.jpg`), so that the batch's sheet needs only the tiles of its shards.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sim2edge.episodes.moment import TICK_NS
from sim2edge.episodes.result import EpisodeResult
from sim2edge.recipes.perception import CLASSES

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

FRAMES = 24
COLUMNS = 6
TILE_WIDTH, CAPTION, GAP, HEADER = 264, 46, 14, 76
PAPER, CARD, INK, FAINT = (27, 23, 20), (41, 36, 32), (240, 240, 240), (170, 163, 156)
GOOD, BAD = (120, 200, 90), (90, 90, 240)
"""Colours are BGR, OpenCV's order."""


class _Box(BaseModel):
    model_config = ConfigDict(extra="ignore")

    label: str = Field(alias="class")
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    distance_m: float


class _Labels(BaseModel):
    model_config = ConfigDict(extra="ignore")

    floor: str
    boxes: list[_Box]


@dataclass(frozen=True)
class Frame:
    """One image of an episode and its labels."""

    image: Image
    labels: _Labels


def write_contact_sheet(folder: Path, results: Sequence[EpisodeResult], episodes: int) -> None:
    """Write `contact_sheet.png` and its tiles for the episodes in `folder` (`<episode id>/simulation.mcap`).

    The same episodes produce the same bytes. `episodes` is the number of episodes in the whole batch: a shard
    contributes its part of the batch's frames, which may be empty.

    Raises:
        RuntimeError: a log lacks a frame, or a picture cannot be written.
    """
    tiles = []
    for slot, result, index in choose_frames(results, episodes):
        tile = _tile(read_frame(folder / result.episode_id / "simulation.mcap", index), result, index)
        tiles.append(folder / f"contact_sheet.{slot:02d}.jpg")
        _save(tiles[-1], tile, cv2.IMWRITE_JPEG_QUALITY, 92)
    gather_contact_sheet(folder, tiles, results)


def gather_contact_sheet(folder: Path, tiles: Sequence[Path], results: Sequence[EpisodeResult]) -> None:
    """Arrange tiles on `contact_sheet.png`, in the order of their names.

    Raises:
        RuntimeError: the picture cannot be written.
    """
    if not tiles:
        return
    ordered = sorted(tiles, key=lambda tile: tile.name)
    pictures = [np.asarray(cv2.imread(str(tile), cv2.IMREAD_COLOR), np.uint8) for tile in ordered]
    height, width = pictures[0].shape[:2]
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    size = HEADER + rows * (height + GAP) + GAP, GAP + max(3, columns) * (width + GAP), 3
    sheet = np.full(size, PAPER, np.uint8)
    _header(sheet, results)
    for k, picture in enumerate(pictures):
        x, y = GAP + k % columns * (width + GAP), HEADER + GAP + k // columns * (height + GAP)
        sheet[y : y + height, x : x + width] = picture
    _save(folder / "contact_sheet.png", sheet, cv2.IMWRITE_PNG_COMPRESSION, 6)


def _save(path: Path, picture: Image, option: int, value: int) -> None:
    if not cv2.imwrite(str(path), picture, [option, value]):
        raise RuntimeError(f"{path}: the picture cannot be written")


def choose_frames(results: Sequence[EpisodeResult], episodes: int) -> list[tuple[int, EpisodeResult, int]]:
    """Return the frames of these episodes that are shown for a batch of `episodes`.

    Each is (place on the sheet, episode, frame).

    Episodes without a place show nothing; one too short for its places shows each frame once.
    """
    owners = sorted(int((place + 0.5) * episodes / FRAMES) for place in range(FRAMES))
    chosen = []
    for result in results:
        episode = int(result.episode_id.rpartition(".")[2])
        share = owners.count(episode)
        frames = sorted({int((k + 0.5) / share * result.frames) for k in range(share)})
        first = bisect_left(owners, episode)
        chosen += [(first + k, result, frame) for k, frame in enumerate(frames)]
    return chosen


def read_frame(log: Path, index: int) -> Frame:
    """Return frame `index` of an episode's log.

    Raises:
        RuntimeError: the log lacks the frame.
    """
    time, found = index * TICK_NS, dict[str, Any]()
    with log.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        topics = ["/camera/image", "/labels"]
        for schema, channel, message in reader.iter_messages(topics, start_time=time, end_time=time + 1):
            decode = DecoderFactory().decoder_for(channel.message_encoding, schema)
            found[channel.topic] = decode(message.data) if decode else message.data
    if len(found) < len(topics):
        raise RuntimeError(f"{log}: no frame {index}")
    image = cv2.imdecode(np.frombuffer(found["/camera/image"].data, np.uint8), cv2.IMREAD_COLOR)
    return Frame(np.asarray(image, np.uint8), _Labels.model_validate_json(found["/labels"]))


def class_colour(label: str) -> Colour:
    """Return a distinct colour for each class, evenly spaced in hue, light enough for dark text."""
    hue = round(180 * CLASSES.index(label) / len(CLASSES))
    blue, green, red = cv2.cvtColor(np.array([[[hue, 150, 255]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def _tile(frame: Frame, result: EpisodeResult, index: int) -> Image:
    rows, columns = frame.image.shape[:2]
    scale = TILE_WIDTH / columns
    picture = np.asarray(
        cv2.resize(frame.image, (TILE_WIDTH, round(rows * scale)), interpolation=cv2.INTER_CUBIC), np.uint8
    )
    for box in sorted(frame.labels.boxes, key=lambda each: -each.distance_m):
        _draw_box(picture, box, scale)
    tile = np.full((len(picture) + CAPTION, TILE_WIDTH, 3), CARD, np.uint8)
    tile[: len(picture)] = picture
    outcome = result.failure_reason or "ok"
    if result.collided_with:
        outcome += ": " + ", ".join(result.collided_with)
    y = len(picture)
    cv2.circle(tile, (14, y + 16), 4, GOOD if result.success else BAD, -1, cv2.LINE_AA)
    _write(tile, f"{result.episode_id}   {index * TICK_NS / 1e9:.1f} s   {outcome}", (25, y + 20), 12, INK, bold=True)
    _write(tile, f"{result.layout}  ·  {frame.labels.floor}  ·  {result.driver}", (25, y + 37), 11, FAINT)
    return tile


def _draw_box(picture: Image, box: _Box, scale: float) -> None:
    colour = class_colour(box.label)
    left, top, right, bottom = (round(edge * scale) for edge in (box.x_min, box.y_min, box.x_max, box.y_max))
    cv2.rectangle(picture, (left, top), (min(right, picture.shape[1]) - 1, min(bottom, len(picture)) - 1), colour, 2)
    text = f"{box.label} {box.distance_m:.1f} m"
    wide = _width(text, 10) + 8
    x, y = min(max(0, left), max(0, picture.shape[1] - wide)), max(0, top - 14)
    cv2.rectangle(picture, (x, y), (x + wide, y + 14), colour, -1)
    _write(picture, text, (x + 4, y + 11), 10, (20, 20, 20), bold=True)


def _header(sheet: Image, results: Sequence[EpisodeResult]) -> None:
    batch = results[0].episode_id.rpartition(".")[0]
    successes, frames = sum(result.success for result in results), sum(result.frames for result in results)
    _write(sheet, batch, (GAP, 34), 24, INK, bold=True)
    facts = f"{len(results)} episodes, {100 * successes / len(results):.0f} % successful, {frames} frames"
    _write(sheet, facts, (GAP + _width(batch, 24) + 20, 34), 14, FAINT)
    x = GAP
    for label in CLASSES:
        cv2.rectangle(sheet, (x, 54), (x + 11, 65), class_colour(label), -1)
        _write(sheet, label, (x + 17, 64), 12, FAINT)
        x += 17 + _width(label, 12) + 18


@cache
def _font() -> "cv2.FontFace":
    return cv2.FontFace("sans")


def _write(image: Image, text: str, at: tuple[int, int], size: int, colour: Colour, *, bold: bool = False) -> None:
    cv2.putText(image, text, at, colour, _font(), size, 600 if bold else 400)


def _width(text: str, size: int) -> int:
    """Return the largest width of a text, pixels."""
    _, _, wide, _ = cv2.getTextSize((0, 0), text, (0, 0), _font(), size, 600)
    return int(wide)
