"""Raw images of every encoding, made from one picture by formulas of their own, come out as that picture."""

import cv2
import numpy as np
import pytest
from ingest.foreign_logs import Sent, robot_drive, write_bag

from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.images import Picture, size_of, to_jpeg
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.raw_images import ENCODINGS, is_whole, to_rgb
from sim2edge.ingest.source_log import pictures
from sim2edge.ingest.understand import understand

HEIGHT, WIDTH = 24, 32


def smooth_picture() -> np.ndarray:
    """An RGB image without edges, so that shared and missing colours can be told from their neighbours."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([40 + 5 * x, 60 + 6 * y, 200 - 3 * x - 2 * y], axis=2).astype(np.uint8)


RGB = smooth_picture()


def yuv() -> np.ndarray:
    """BT.601 with the limited range of cameras, height x width x 3."""
    r, g, b = (RGB[..., channel].astype(float) for channel in range(3))
    y = 16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256
    u = 128 + (-37.945 * r - 74.494 * g + 112.439 * b) / 256
    v = 128 + (112.439 * r - 94.154 * g - 18.285 * b) / 256
    return np.stack([y, u, v], axis=2).round().astype(np.uint8)


def packed(order: str) -> np.ndarray:
    """Two pixels in four bytes: `y` in turn, `u` of the first and `v` of the second."""
    made, image = np.empty((HEIGHT, WIDTH * 2), np.uint8), yuv()
    of = {"y": [image[:, 0::2, 0], image[:, 1::2, 0]], "u": [image[:, 0::2, 1]], "v": [image[:, 1::2, 2]]}
    for place, letter in enumerate(order):
        made[:, place::4] = of[letter].pop(0)
    return made


def planar(first: int) -> np.ndarray:
    """A plane of brightness, then one of colours in pairs, a pair for four pixels."""
    image = yuv()
    pairs = np.stack([image[::2, ::2, first], image[::2, ::2, 3 - first]], axis=2)
    return np.concatenate([image[..., 0], pairs.reshape(HEIGHT // 2, WIDTH)])


def mosaic(pattern: str) -> np.ndarray:
    """Each pixel has one colour; the pattern names those of the first two rows."""
    made = np.empty((HEIGHT, WIDTH), np.uint8)
    for place, letter in enumerate(pattern):
        row, column = divmod(place, 2)
        made[row::2, column::2] = RGB[row::2, column::2, "rgb".index(letter)]
    return made


ALPHA = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)
BGR = RGB[..., ::-1]
GREY = RGB[..., 1]
SENT = {
    "rgb8": RGB, "bgr8": BGR, "8UC3": BGR, "rgba8": np.concatenate([RGB, ALPHA], 2),
    "bgra8": np.concatenate([BGR, ALPHA], 2), "8UC4": np.concatenate([BGR, ALPHA], 2), "mono8": GREY, "8UC1": GREY,
    "yuv422": packed("uyvy"), "uyvy": packed("uyvy"), "yuv422_yuy2": packed("yuyv"), "yuyv": packed("yuyv"),
    "nv12": planar(1), "nv21": planar(2), "bayer_rggb8": mosaic("rggb"), "bayer_bggr8": mosaic("bggr"),
    "bayer_gbrg8": mosaic("gbrg"), "bayer_grbg8": mosaic("grbg"),
}  # fmt: skip
ROUGH = {"yuv422": 12, "uyvy": 12, "yuv422_yuy2": 12, "yuyv": 12, "nv12": 14, "nv21": 14}
"""Largest error: colours are shared by neighbours."""


def rows_of(encoding: str, padding: int = 0) -> tuple[bytes, int]:
    """The bytes of an image, with `padding` bytes at the end of each row, and the bytes a row."""
    rows = SENT[encoding].reshape(len(SENT[encoding]), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    return rows.tobytes(), rows.shape[1]


def test_every_encoding_is_tried():
    assert set(SENT) == set(ENCODINGS)


@pytest.mark.parametrize("padding", [0, 8])
@pytest.mark.parametrize("encoding", SENT)
def test_the_picture_comes_out_as_it_was(encoding, padding):
    data, step = rows_of(encoding, padding)
    assert size_of(Picture(data, encoding, (WIDTH, HEIGHT, step))) == (WIDTH, HEIGHT)
    expected = np.repeat(GREY[..., None], 3, axis=2) if ENCODINGS[encoding] == ENCODINGS["mono8"] else RGB
    inner = slice(2, -2)  # a mosaic has no neighbours at the edge
    error = np.abs(to_rgb(encoding, data, WIDTH, HEIGHT, step).astype(int) - expected)[inner, inner]
    assert error.max() <= ROUGH.get(encoding, 1 if "bayer" in encoding else 0)


def test_rows_without_padding_need_no_step():
    data, _ = rows_of("bgra8")
    assert is_whole("bgra8", len(data), WIDTH, HEIGHT, step=0)
    assert (to_rgb("bgra8", data, WIDTH, HEIGHT, step=0) == RGB).all()


@pytest.mark.parametrize(
    ("encoding", "size", "width", "height", "step"),
    [
        ("bgra8", WIDTH * HEIGHT * 4 - 1, WIDTH, HEIGHT, WIDTH * 4),
        ("bgra8", WIDTH * HEIGHT * 4, WIDTH, HEIGHT, WIDTH * 3),  # a step for three channels
        ("yuv422", 31 * HEIGHT * 2, 31, HEIGHT, 62),  # half a pair
        ("nv12", WIDTH * 15 * 3 // 2, WIDTH, 15, WIDTH),
        ("bayer_rggb8", 0, 0, 0, 0),
    ],
)
def test_an_image_that_is_not_whole(encoding, size, width, height, step):
    assert not is_whole(encoding, size, width, height, step)


@pytest.mark.parametrize("encoding", ["rgb16", "bayer_rggb16", "32SC1", "", "RGB8", "yuv444"])
def test_other_encodings_are_named(tmp_path, encoding):
    with pytest.raises(BadLog) as error:
        understand(write_bag(tmp_path / "a.mcap", raw_drive("bgra8", encoding)), IngestConfig())
    said = f"/camera/image_raw: message 0: encoding '{encoding}' is not one of: rgb8, bgr8, rgba8, bgra8, mono8, 8UC1"
    assert str(error.value).startswith(said)


def raw_drive(encoding: str, called: str | None = None) -> list[Sent]:
    data, step = rows_of(encoding)
    image = {"height": HEIGHT, "width": WIDTH, "encoding": called if called is not None else encoding, "step": step}
    return [
        (
            ("/camera/image_raw", "sensor_msgs/msg/Image", sent[2], {"header": sent[3]["header"], "data": data} | image)
            if sent[0].endswith("compressed")
            else sent
        )
        for sent in robot_drive(3)
    ]


@pytest.mark.parametrize("encoding", ["bgra8", "yuv422_yuy2", "bayer_grbg8"])
def test_a_log_of_raw_images_becomes_jpegs(tmp_path, encoding):
    episode = understand(write_bag(tmp_path / "a.mcap", raw_drive(encoding)), IngestConfig())
    for data in pictures(episode.log, [0, 1, 2], quality=100):
        shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.abs(shown.astype(int) - RGB)[2:-2, 2:-2].mean() < 4


def test_a_picture_is_encoded_with_the_quality_that_was_asked_for():
    data, step = rows_of("rgba8")
    sizes = [len(to_jpeg(Picture(data, "rgba8", (WIDTH, HEIGHT, step)), quality)) for quality in (30, 95)]
    assert sizes[0] < sizes[1]
