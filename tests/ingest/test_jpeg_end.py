"""The picture of a JPEG is taken up to its end, whatever the driver put after it."""

import cv2
import numpy as np
import pytest
from ingest.foreign_logs import jpeg, picture

from sim2edge.ingest.images import Picture, size_of, to_jpeg
from sim2edge.ingest.jpeg_end import end_of_jpeg

WHOLE = jpeg(3)


def encoded(*parameters: int, grey: bool = False) -> bytes:
    image = picture(5, 40, 56)
    return bytes(cv2.imencode(".jpg", image[..., 1] if grey else image, list(parameters))[1])


@pytest.mark.parametrize(
    "after",
    [b"", b"\0" * 7, b"\xff" * 5, b"\xff\xd9", WHOLE, b"\x01\x02timestamp\xff\xd8", b"\r\n--boundary", bytes(5000)],
    ids=["nothing", "zeros", "fill", "second end", "second picture", "own data", "boundary", "block"],
)
def test_what_follows_the_end_is_cut_off(after):
    sent = Picture(WHOLE + after, "jpeg")
    assert size_of(sent) == (64, 48)
    assert to_jpeg(sent, 92) == WHOLE


@pytest.mark.parametrize("keep", [3, 100, len(WHOLE) - 2, len(WHOLE) - 1])
def test_a_picture_without_an_end_is_not_whole(keep):
    assert end_of_jpeg(WHOLE[:keep]) is None
    assert size_of(Picture(WHOLE[:keep], "jpeg")) is None


def test_the_end_of_a_thumbnail_is_not_the_end():
    thumbnail = jpeg(1, height=8, width=8)
    segment = b"\xff\xe1" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    inside = WHOLE[:2] + segment + WHOLE[2:]
    assert end_of_jpeg(inside + b"more") == len(inside)
    assert end_of_jpeg(inside[: -len(WHOLE) // 2]) is None
    assert size_of(Picture(inside, "jpeg")) == (64, 48)


@pytest.mark.parametrize(
    "data",
    [
        encoded(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encoded(cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        encoded(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        encoded(grey=True),
        encoded(cv2.IMWRITE_JPEG_QUALITY, 100),
    ],
    ids=["progressive", "restarts", "optimised", "grey", "best"],
)
def test_kinds_of_jpeg(data):
    assert end_of_jpeg(data + b"\0\xff\xd9x") == len(data)
    assert size_of(Picture(data, "jpeg")) == (56, 40)
    assert to_jpeg(Picture(data, "jpeg"), 92) == data


def test_fill_bytes_before_a_marker():
    filled = WHOLE[:2] + b"\xff\xff" + WHOLE[2:]
    assert end_of_jpeg(filled) == len(filled)


def test_random_bytes_after_the_start_never_hang():
    random = np.random.default_rng(0)
    for _ in range(500):
        end = end_of_jpeg(b"\xff\xd8" + random.integers(0, 256, 60, np.uint8).tobytes().replace(b"\x00", b"\xff"))
        assert end is None or 2 < end <= 62
