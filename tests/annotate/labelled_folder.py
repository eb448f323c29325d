"""Writes small folders of pictures with COCO annotations, as labelling tools export them."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 160, 120
CATEGORIES = [{"id": 1, "name": "chair"}, {"id": 2, "name": "person"}]


def write_picture(path: Path, seed: int, size: tuple[int, int] = (WIDTH, HEIGHT), marked: bool = False) -> None:
    """Write a picture of noise; `marked`: its upper left quarter is white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 200, (size[1], size[0], 3), dtype=np.uint8)
    if marked:
        pixels[: size[1] // 2, : size[0] // 2] = 255
    assert cv2.imwrite(str(path), pixels)


def make_image(number: int, **changes: Any) -> dict[str, Any]:
    """An entry of `images`."""
    return {
        "id": number,
        "file_name": f"a_{number:03d}.jpg",
        "width": WIDTH,
        "height": HEIGHT,
        "floor": "wood",
    } | changes


def make_annotation(number: int, image: Any, **changes: Any) -> dict[str, Any]:
    """An entry of `annotations`: a chair in the image's upper left quarter."""
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [16, 12, 64, 48],
        "area": 3072,
        "iscrowd": 0,
    } | changes


def make_coco(count: int = 4, **changes: Any) -> dict[str, Any]:
    """An annotation file of `count` images with a chair each."""
    numbers = range(1, count + 1)
    return {
        "images": [make_image(number) for number in numbers],
        "annotations": [make_annotation(number, number) for number in numbers],
        "categories": [dict(each) for each in CATEGORIES],
    } | changes


def write_folder(
    folder: Path, coco: Any, name: str = "annotations/instances_default.json", images: str = "images"
) -> Path:
    """Write an annotation file, and a picture of every image that it lists below `images`."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco))
    for seed, image in enumerate(coco["images"]):
        write_picture(folder / images / image["file_name"], seed)
    return folder
