"""Write `report.html`: an overview of a batch in one self-contained file.

The same frames produce the same bytes. The template is `report.html.j2`; `report_pictures.py` draws the pictures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from sim2edge.config import resolve
from sim2edge.frames.config import FramesConfig
from sim2edge.frames.episode import Quarantined, Scan
from sim2edge.frames.report_pictures import COLOURS, draw_distances, draw_frame, draw_scan

SHOWN_QUARANTINED = 100
SHOWN_SCANS = 3


def write_report(
    folder: Path, batch: str, stats: Mapping[str, Any], quarantined: Sequence[Quarantined], config: FramesConfig
) -> None:
    """Write `report.html` beside the `frames.parquet` of `folder`."""
    matplotlib.rcdefaults()  # ignore a matplotlibrc of this folder or home: artifacts are deterministic
    samples = sample_frames(folder / "frames.parquet", config.report_frames)
    lidar = stats["lidar"]
    scan = Scan(lidar["beams"], lidar["start_rad"], lidar["step_rad"]) if lidar else None
    scanned = [row for row in samples if row["lidar"] is not None]
    histogram = stats["distance_histogram"]
    page = _environment().get_template("report.html.j2")
    html = page.render(
        batch=batch,
        stats=stats,
        quarantined=quarantined[:SHOWN_QUARANTINED],
        hidden=max(0, len(quarantined) - SHOWN_QUARANTINED),
        frames_quarantined=sum(item.frame is not None for item in quarantined),
        samples=[{**caption(row), "picture": draw_frame(row)} for row in samples],
        scans=[{**caption(row), "picture": draw_scan(row, scan)} for row in spread(scanned, SHOWN_SCANS) if scan],
        distances=draw_distances(histogram["bin_m"], histogram["counts"]),
        colours=COLOURS,
        settings=resolve(config),
    )
    (folder / "report.html").write_text(html, encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sim2edge.frames", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda part, whole: f"{100 * part / whole:.1f} %" if whole else "–"
    environment.filters["thousands"] = lambda number: f"{number:,}".replace(",", "\u202f")
    return environment


def caption(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a sample's caption."""
    return {name: row[name] for name in ("episode_id", "frame", "floor", "boxes", "linear_m_s", "angular_rad_s")}


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return `count` of the items, evenly spread, including the first and the last."""
    if count >= len(items) or count < 2:
        return list(items[:count])
    return [items[index * (len(items) - 1) // (count - 1)] for index in range(count)]


def sample_frames(path: Path, count: int) -> list[dict[str, Any]]:
    """Return rows spread evenly over the file; rows without boxes are taken only if no row has any."""
    file = pq.ParquetFile(path)
    labelled = file.read(["boxes"])["boxes"].combine_chunks().value_lengths().to_pylist()
    with_boxes = [row for row, boxes in enumerate(labelled) if boxes]
    chosen = set(spread(with_boxes or list(range(len(labelled))), count))
    rows: list[dict[str, Any]] = []
    first = 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        wanted = sorted(row - first for row in chosen if first <= row < first + size)
        rows += file.read_row_group(group).take(wanted).to_pylist() if wanted else []
        first += size
    return rows
