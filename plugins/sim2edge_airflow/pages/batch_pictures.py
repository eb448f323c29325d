"""Show what is in a batch: thumbnails of its episodes, and charts of its labels.

The thumbnails are the tiles of the contact sheet that `capture` writes; those of a batch captured in shards are in the
shards' artifacts. A committed picture never changes, so that a browser keeps it for a day without asking again, and
this server keeps the newest in memory.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from sim2edge.catalog import Record
from sim2edge.errors import Corrupt
from sim2edge.manifest import File, Manifest, split_reference
from sim2edge.stages import maker_of
from sim2edge_airflow.pages.artifact_details import as_dict
from sim2edge_airflow.pages.artifact_page import SANDBOX, find
from sim2edge_airflow.pages.bus_view import BusView, read_or_note
from sim2edge_airflow.pages.charts import Chart, draw_bars, draw_histogram
from sim2edge_airflow.pages.rendering import get_view

ROUTES = APIRouter()
TILE = re.compile(r"contact_sheet\.(\d{2})\.jpg")
SHEET = "contact_sheet.png"
MEDIA = {"jpg": "image/jpeg", "png": "image/png"}
MAX_BYTES = 256 * 1024
"""Size above which a picture is no thumbnail."""
MAX_PARTS = 16
"""Shards whose tiles are shown."""
MAX_TILES = 24
CHARTED = ("distance_histogram", "class_counts", "floor_counts", "quarantine_counts")
"""Parts of a summary that a chart shows."""
KEPT = 256
"""Thumbnails kept in memory, mostly of about 20 kB."""
BLANK = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
"""Shown where there is no picture: browsers show the body of a 404, too, instead of the sign of a broken picture."""
KEEP = {"Cache-Control": "private, max-age=86400, immutable"}
"""Immutable while it exists; a day, so that an erased picture leaves the browsers, too."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture of a batch, and the artifact whose file it is."""

    reference: str
    path: str
    number: int


@ROUTES.get("/thumbnails/{kind}/{partition}/{identity}/{number}")
def show_thumbnail(
    request: Request, kind: str, partition: str, identity: str, number: Annotated[int, Path(ge=0, le=99)]
) -> Response:
    """Return the thumbnail of that number of an artifact, or the one nearest to it."""
    view, manifest = get_view(request), find(request, kind, partition, identity)
    tiles = list_tiles(manifest)
    if not tiles and manifest.parts:
        tiles = list_tiles(find(request, *split_reference(manifest.parts[0])))
    nearest = min(tiles, key=lambda tile: abs(tile.number - number), default=None)
    if nearest is None or view.is_erased(manifest.reference) or view.is_erased(nearest.reference):
        return Response(BLANK, 404, media_type="image/svg+xml", headers=SANDBOX | {"Cache-Control": "no-store"})
    content = read_picture(view, nearest.reference, nearest.path)
    return Response(content, media_type=MEDIA[nearest.path.rpartition(".")[2]], headers=SANDBOX | KEEP)


@lru_cache(KEPT)
def read_picture(view: BusView, reference: str, path: str) -> bytes:
    """Return the bytes of a picture.

    Raises:
        Corrupt: it is missing, or has another size than its manifest says.
        Unavailable: S3 does not answer.
    """
    manifest = view.manifest(reference)
    file = next(each for each in manifest.files if each.path == path)
    content = view.read(f"{reference}/{manifest.attempt}/{path}")
    if len(content) != file.bytes:
        raise Corrupt(f"{reference}/{path}: {len(content)} bytes, not {file.bytes}")
    return content


def list_tiles(manifest: Manifest) -> Sequence[Thumbnail]:
    """Return the tiles of an artifact's contact sheet; the sheet itself if it has no tiles and a small sheet."""
    small = [file for file in manifest.files if file.bytes <= MAX_BYTES]
    tiles = [Thumbnail(manifest.reference, file.path, int(match[1])) for file, match in match_tiles(small)]
    sheet = [Thumbnail(manifest.reference, SHEET, 0) for file in small if file.path == SHEET]
    return sorted(tiles, key=lambda tile: tile.number) or sheet


def match_tiles(files: Sequence[File]) -> list[tuple[File, re.Match[str]]]:
    """Return the files that are tiles, with the match of their name."""
    return [(file, match) for file in files if (match := TILE.fullmatch(file.path))]


def find_gallery(view: BusView, episodes: Record | None, notes: list[str]) -> Sequence[Thumbnail]:
    """Return the tiles of a batch's contact sheet, those of its shards included, in the order of the sheet."""
    if episodes is None or view.is_erased(episodes.reference):
        return ()
    manifests = [read_or_note(notes, view.manifest, each) for each in (episodes.reference, *episodes.parts[:MAX_PARTS])]
    tiles = [tile for manifest in manifests if manifest for tile in list_tiles(manifest) if tile.path != SHEET]
    return sorted(tiles, key=lambda tile: tile.number)[:MAX_TILES]


def has_thumbnail(record: Record | None) -> bool:
    """Return whether an artifact may have a thumbnail: by its stage alone, so that no manifest is read."""
    maker = maker_of(record.kind, record.stage) if record else None
    return bool(maker and maker.shown.report == SHEET)


def draw_labels(stats: Mapping[str, Any]) -> Sequence[Chart]:
    """Return charts of the labels of a batch: distances, classes, floors, and why frames were left out.

    Args:
        stats: the summary of its frames; whatever is missing or invalid has no chart.
    """
    distances = as_dict(stats.get("distance_histogram"))
    counts, step = distances.get("counts"), distances.get("bin_m")
    charts = [
        draw_histogram("Obstacles by distance", counts if isinstance(counts, list) else [], step or 0, "m"),
        draw_bars("Obstacles by class", as_dict(stats.get("class_counts"))),
        draw_bars("Frames by floor", as_dict(stats.get("floor_counts"))),
        draw_bars("Quarantined by reason", as_dict(stats.get("quarantine_counts"))),
    ]
    return [chart for chart in charts if chart]
