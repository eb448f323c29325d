"""Draw the pictures of the quality report: frames with boxes, scans from above, the histogram of distances."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sim2edge.frames.episode import Scan
from sim2edge.recipes.perception import CLASSES

PALETTE = ("#e69f00", "#56b4e9", "#d55e00", "#cc79a7", "#009e73", "#f0e442", "#0072b2", "#999999")
"""Okabe and Ito's colours, distinguishable by colour-blind readers."""

COLOURS = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(CLASSES)}

ZOOM = 3
STYLE: Any = {"svg.hashsalt": "sim2edge", "font.family": "sans-serif", "font.size": 9, "axes.edgecolor": "#8a8f98"}


def draw_frame(row: Mapping[str, Any]) -> str:
    """Return the image of a row, enlarged, with its boxes, as a `data:` URL."""
    image = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{row['episode_id']}: frame {row['frame']}: not an image")
    size = image.shape[1] * ZOOM, image.shape[0] * ZOOM
    picture = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    for box in sorted(row["boxes"], key=lambda box: -(box["distance_m"] or 0.0)):
        draw_box(picture, box)
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def draw_box(image: NDArray[np.uint8], box: Mapping[str, Any]) -> None:
    """Draw one box with its class and distance onto a BGR image."""
    height, width = image.shape[:2]
    left, top = round(box["x_min"] * (width - 1)), round(box["y_min"] * (height - 1))
    right, bottom = round(box["x_max"] * (width - 1)), round(box["y_max"] * (height - 1))
    colour = _bgr(COLOURS[box["class"]])
    cv2.rectangle(image, (left, top), (right, bottom), colour, 2)
    away = "" if box["distance_m"] is None else f" {box['distance_m']:.1f} m"
    text, font, size = box["class"] + away, cv2.FONT_HERSHEY_SIMPLEX, 0.5
    (wide, high), _ = cv2.getTextSize(text, font, size, 1)
    x, y = max(0, min(left, width - wide - 4)), max(high + 5, top)
    cv2.rectangle(image, (x, y - high - 5), (x + wide + 4, y), colour, -1)
    cv2.putText(image, text, (x + 2, y - 4), font, size, (0, 0, 0), 1, cv2.LINE_AA)


def _bgr(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return blue, green, red


def draw_scan(row: Mapping[str, Any], scan: Scan) -> str:
    """Draw a scan from above, the robot in the middle facing up, and the labelled positions of objects, as SVG."""
    ranges = np.asarray(row["lidar"], dtype=np.float64)
    angles = scan.start_rad + scan.step_rad * np.arange(scan.beams)
    hit = np.isfinite(ranges)
    figure = Figure(figsize=(3.6, 3.6))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    for radius in (1, 2, 3, 4):
        axes.add_patch(matplotlib.patches.Circle((0, 0), radius, fill=False, color="#d5d9e0", lw=0.7, zorder=0))
        axes.text(0, -radius, f"{radius} m", fontsize=7, color="#8a8f98", ha="center", va="bottom")
    axes.scatter(-ranges[hit] * np.sin(angles[hit]), ranges[hit] * np.cos(angles[hit]), s=7, color="#1f6feb", lw=0)
    placed = [box for box in row["boxes"] if None not in (box["distance_m"], box["bearing_rad"])]
    for box in placed:
        x, y = -box["distance_m"] * math.sin(box["bearing_rad"]), box["distance_m"] * math.cos(box["bearing_rad"])
        axes.scatter([x], [y], s=46, color=COLOURS[box["class"]], edgecolor="black", lw=0.7, zorder=3)
        axes.annotate(box["class"], (x, y), (5, 4), textcoords="offset points", fontsize=8, zorder=4)
    axes.add_patch(matplotlib.patches.Polygon([(-0.12, -0.1), (0.12, -0.1), (0, 0.2)], color="#24292f", zorder=3))
    far = float(np.percentile(ranges[hit], 98)) if hit.any() else 4.0
    axes.set(xlim=(-far, far), ylim=(-far, far), aspect="equal")
    axes.axis("off")
    return to_svg(figure)


def draw_distances(bin_m: float, counts: Sequence[int]) -> str:
    """Return the histogram of box distances, as SVG."""
    last = max((index for index, count in enumerate(counts) if count), default=0) + 1
    figure = Figure(figsize=(11, 2.4), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(np.arange(last) * bin_m, counts[:last], width=bin_m * 0.9, align="edge", color="#1f6feb")
    axes.set(xlabel="distance to the nearest point of the object, m", ylabel="boxes", xlim=(0, last * bin_m))
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return to_svg(figure)


def to_svg(figure: Figure) -> str:
    """Return the figure as an `<svg>` element; the same figure produces the same bytes."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
