"""Cameras as a Pi has them: the parser of their stream, a stand-in for rpicam-vid, V4L2 devices that are none."""

import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim2edge.edge.detector import camera_source
from sim2edge.edge.detector.camera_source import FrameError, LibcameraSource, open_source
from sim2edge.edge.detector.mjpeg import MAX_BYTES, JpegStream
from sim2edge.errors import BadInput


def jpeg(brightness: int) -> bytes:
    return cv2.imencode(".jpg", np.full((16, 16, 3), brightness, np.uint8))[1].tobytes()


def with_thumbnail(picture: bytes, thumbnail: bytes) -> bytes:
    """A picture with another one in an APP1 segment, as cameras write it."""
    return picture[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2) + thumbnail + picture[2:]


PICTURES = [jpeg(20), with_thumbnail(jpeg(90), jpeg(200)), jpeg(250)]


def cut_up(data: bytes, places: list[int]) -> list[bytes]:
    places = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def pictures_of(chunks: list[bytes]) -> list[bytes]:
    stream = JpegStream()
    return [picture for chunk in chunks for picture in stream.feed(chunk)]


@settings(max_examples=60)
@given(
    places=st.lists(st.integers(0, 10_000), max_size=30),
    rubbish=st.lists(st.binary(max_size=30), min_size=4, max_size=4),
)
def test_pictures_come_out_whole_wherever_the_stream_is_split_and_whatever_lies_between(places, rubbish):
    between = [each.replace(b"\xff\xd8", b"") for each in rubbish]
    data = between[0] + b"".join(picture + more for picture, more in zip(PICTURES, between[1:], strict=True))
    assert pictures_of(cut_up(data, places)) == PICTURES


def test_split_into_bytes_nothing_is_lost():
    data = b"".join(PICTURES)
    assert pictures_of([data[index : index + 1] for index in range(len(data))]) == PICTURES


def test_a_picture_cut_short_anywhere_costs_at_most_the_one_behind_it():
    whole, others = PICTURES[1], [PICTURES[0], PICTURES[2]] * 60  # more than a segment can be long
    for length in [*range(2, 30), *range(30, len(whole) - 1, 41)]:
        found = pictures_of([whole[:length] + b"".join(others)])
        assert found[1 - len(others) :] == others[1:], length


@settings(max_examples=60)
@given(data=st.binary(max_size=3000), places=st.lists(st.integers(0, 10_000), max_size=10))
def test_no_bytes_stop_the_parser(data, places):
    pictures_of(cut_up(b"\xff\xd8" + data, places))


def test_a_picture_without_an_end_is_given_up_and_the_next_is_found():
    stream = JpegStream()
    head = PICTURES[0][:-2]
    assert list(stream.feed(head)) == []
    for _ in range(MAX_BYTES // 2**20 + 1):
        assert list(stream.feed(bytes(2**20))) == []
    assert len(stream._buffer) <= MAX_BYTES
    assert list(stream.feed(PICTURES[2])) == [PICTURES[2]]


STAND_IN = """\
#!{python}
import os, sys, time
from pathlib import Path

here = Path(__file__).parent
(here / "starts").open("a").write(" ".join(sys.argv[1:]) + "\\n")
does = (here / "does").read_text()
if does == "no camera":
    sys.exit("ERROR: *** no cameras available ***")
out = sys.stdout.buffer
for number in range(3 if does == "ends" else 1 << 30):
    out.write((here / f"{{number % 3}}.jpg").read_bytes())
    out.flush()
    if does == "hangs":
        time.sleep(60)
    time.sleep(0.02)
"""


@pytest.fixture
def program(tmp_path, monkeypatch) -> Path:
    """A stand-in for rpicam-vid in a folder of its own; what it does stands in the file `does`."""
    for number, picture in enumerate(PICTURES):
        (tmp_path / f"{number}.jpg").write_bytes(picture)
    path = tmp_path / "rpicam-vid"
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    (tmp_path / "does").write_text("streams")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_frames_of_libcamera_are_those_of_the_program_which_gets_the_size_asked_for(program):
    source = open_source("libcamera:1?width=320&height=240&framerate=10")
    seen = {int(source.read()[0, 0, 0]) // 50 for _ in range(6)}
    assert seen <= {0, 1, 4, 5}
    source.close()
    (start,) = (program / "starts").read_text().splitlines()
    assert start.endswith("--codec mjpeg --camera 1 --width 320 --height 240 --framerate 10.0")
    assert not [child for child in psutil.Process().children() if "rpicam-vid" in " ".join(child.cmdline())]


def test_a_slow_detector_gets_the_newest_frame(program):
    source = open_source("libcamera:0")
    source.read()
    time.sleep(0.5)  # 25 frames
    assert source._frames.qsize() == 1
    source.read()
    source.close()


def test_a_program_that_ends_is_started_again_and_says_why(program):
    (program / "does").write_text("ends")
    source = open_source("libcamera:0")
    errors = []
    for _ in range(30):
        try:
            source.read()
        except FrameError as error:
            errors.append(str(error))
            if len(errors) == 2:
                break
    assert errors == ["camera libcamera:0: rpicam-vid ended with code 0"] * 2
    (program / "does").write_text("no camera")
    source.close()
    with pytest.raises(FrameError, match=r"ended with code 1: ERROR: \*\*\* no cameras available"):
        source.read()


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("[1:02:03.123456789] [812] ERROR RPI vc4.cpp:1: no buffers", "ERROR RPI vc4.cpp:1: no buffers"),
        ("[0:00:09.1] [7]  [8] WARN V4L2: [x] late", "WARN V4L2: [x] late"),
        ("ERROR: *** no cameras available ***", "ERROR: *** no cameras available ***"),
    ],
)
def test_the_words_of_a_camera_come_without_time_and_process_so_that_they_repeat(program, line, kept):
    (program / "rpicam-vid").write_text(f"#!{sys.executable}\nimport sys\nsys.exit({line!r})\n")
    source = open_source("libcamera:0")
    with pytest.raises(FrameError) as error:
        source.read()
    assert str(error.value) == f"camera libcamera:0: rpicam-vid ended with code 1: {kept}"


class Camera:
    """A camera of OpenCV that always gives the same frame."""

    def __init__(self, frame: np.ndarray) -> None:
        self.frame = frame

    def __call__(self, *_: object) -> "Camera":
        return self

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def read(self) -> tuple[bool, np.ndarray]:
        return True, self.frame


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 1), np.uint8),
        np.zeros((4, 6, 3), np.uint16),
        np.zeros((0, 6, 3), "B"),
    ],
    ids=["grey", "one channel", "sixteen bits", "no rows"],
)
def test_a_frame_that_no_release_can_use_is_the_cameras_error(frame, monkeypatch):
    monkeypatch.setattr(camera_source.cv2, "VideoCapture", Camera(frame))
    with pytest.raises(FrameError, match=r"camera 0: gives .*; expected uint8 \[height, width, 3\]"):
        open_source("0").read()
    monkeypatch.setattr(camera_source.cv2, "VideoCapture", Camera(np.zeros((4, 6, 3), np.uint8)))
    assert open_source("0").read().shape == (4, 6, 3)


def test_a_lack_of_threads_is_an_error_of_the_frame_and_leaves_no_program_behind(program, monkeypatch):
    source = open_source("libcamera:0")

    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(camera_source.threading.Thread, "start", fail)
        with pytest.raises(FrameError, match="can't start new thread"):
            source.read()
    assert not [child for child in psutil.Process().children() if "rpicam-vid" in " ".join(child.cmdline())]
    assert source.read().shape[2] == 3
    source.close()


def test_a_program_that_falls_silent_is_started_again(program, monkeypatch):
    monkeypatch.setattr(camera_source, "SILENCE_S", 0.5)
    (program / "does").write_text("hangs")
    source = open_source("libcamera:0")
    source.read()
    with pytest.raises(FrameError, match="no frame for"):
        source.read()
    (program / "does").write_text("streams")
    monkeypatch.setattr(camera_source, "SILENCE_S", 10)
    source.read()
    source.close()


@pytest.mark.parametrize(
    "name",
    [
        "libcamera:",
        "libcamera:x",
        "libcamera:0?width=0",
        "libcamera:0?colour=red",
        "libcamera:0?width",
        "libcamera:0?framerate=nan",
    ],
)
def test_a_name_that_is_none_is_refused(name, program):
    with pytest.raises(BadInput, match=r"expected libcamera:0\?width=640&height=480&framerate=15"):
        open_source(name)


def test_without_the_program_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="rpicam-vid is missing: `sudo apt install rpicam-apps-lite`"):
        open_source("libcamera:0")


def test_v4l2_devices_that_are_missing_or_no_cameras_are_refused_at_once(tmp_path):
    started = time.monotonic()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BadInput, match="neither a folder of JPEGs nor a camera"):
        open_source("/dev/v4l/by-id/usb-none")
    for device in ("/dev/null", "/dev/zero"):
        with pytest.raises(BadInput, match=f"camera {device}: cannot be opened"):
            open_source(device)
    assert time.monotonic() - started < 5


def test_a_device_is_opened_by_v4l2_under_the_name_that_its_link_leads_to(monkeypatch):
    opened = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda *words: opened.append(words) or LibcameraSource)
    monkeypatch.setattr(LibcameraSource, "isOpened", lambda: True, raising=False)
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(Path, "resolve", lambda path: Path("/dev/video2"))
    open_source("/dev/v4l/by-id/usb-046d_C270-video-index0")
    open_source("/dev/video2")
    open_source("0")
    assert opened == [("/dev/video2", cv2.CAP_V4L2), ("/dev/video2", cv2.CAP_V4L2), (0,)]


def test_a_file_of_a_folder_that_is_larger_than_any_picture_is_an_error_of_the_camera(tmp_path):
    """A link to an endless device must not fill the memory, for which the release would be blamed."""
    (tmp_path / "a.jpg").symlink_to("/dev/zero")
    (tmp_path / "b.jpg").write_bytes(jpeg(20))
    source = open_source(str(tmp_path))
    with pytest.raises(FrameError, match=r"a\.jpg: larger than 32 MiB"):
        source.read()
    assert source.read().shape == (16, 16, 3)
