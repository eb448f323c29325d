"""Pictures that EXIF data turn, and those that are no pictures: depth."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.frames.picture import decode_image
from sim2edge.ingest.exif import orientation_of
from sim2edge.ingest.images import Picture, size_of, to_jpeg

PIXELS = np.zeros((48, 64, 3), np.uint8)
PIXELS[:24, :32] = (0, 0, 250)
PIXELS[24:, :32] = (0, 250, 0)
PLAIN = bytes(cv2.imencode(".jpg", PIXELS)[1])


def oriented(orientation: int, order: str = "<", before: int = 0) -> bytes:
    """A JPEG with that orientation in its EXIF data, after other entries."""
    entries = b"".join(struct.pack(order + "HHIHH", 0x0100 + tag, 3, 1, 9, 0) for tag in range(before))
    entries += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8)
    tiff = start + struct.pack(order + "H", before + 1) + entries + bytes(4)
    return PLAIN[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + PLAIN[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("order", "before"), [("<", 0), (">", 3)])
def test_size_and_pixels_agree_for_every_orientation(orientation, order, before):
    data = oriented(orientation, order, before)
    assert orientation_of(data) == orientation
    picture = Picture(data, "jpeg")
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert size_of(picture) == shown.shape[1::-1]
    upright = to_jpeg(picture, 95)
    assert (upright == data) is (orientation == 1)
    assert size_of(Picture(upright, "jpeg")) == size_of(picture)
    assert np.abs(decode_image(upright).astype(int) - shown).mean() < 4


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_cannot_be_is_none(orientation):
    assert to_jpeg(Picture(oriented(orientation), "jpeg"), 95) == oriented(orientation)


@given(st.integers(4, 40), st.binary(max_size=12))
def test_damaged_exif_data_raise_nothing(at, junk):
    data = oriented(6)
    orientation_of(data[:at] + junk + data[at + len(junk) :])


def test_a_plain_jpeg_stays_as_it_is():
    assert orientation_of(PLAIN) == 1
    assert to_jpeg(Picture(PLAIN, "jpeg"), 30) == PLAIN


GREY_16 = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)


@pytest.mark.parametrize(
    "picture",
    [
        Picture(GREY_16.tobytes(), "16UC1", (64, 48, 128)),
        Picture(GREY_16.tobytes(), "mono16", (64, 48, 128)),
        Picture(bytes(4 * 64 * 48), "32FC1", (64, 48, 256)),
        Picture(bytes(cv2.imencode(".png", GREY_16)[1]), "16UC1; png compressed"),
        Picture(bytes(12) + bytes(cv2.imencode(".png", GREY_16)[1]), "16UC1; compressedDepth png"),
    ],
)
def test_depth_is_no_picture(picture):
    with pytest.raises(ValueError, match=r"a depth image: topics.image names that of a colour camera"):
        size_of(picture)


@pytest.mark.parametrize(
    "pixels", [PIXELS, PIXELS[..., 0], PIXELS.astype(np.uint16) * 256, np.dstack([PIXELS, PIXELS[..., :1]])]
)
def test_other_png_are_pictures(pixels):
    """Of 8 bits, grey, 16 bits a colour, with transparency."""
    picture = Picture(bytes(cv2.imencode(".png", pixels)[1]), "png")
    assert size_of(picture) == (64, 48)
    assert decode_image(to_jpeg(picture, 95)).shape == (48, 64, 3)
