"""What keeps a frame from being judged and is no fault of the release: the machine, the camera, its driver."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from sim2edge.edge.detector import service as service_module
from sim2edge.edge.detector.service import DetectorService, Duty, watch_camera
from sim2edge.edge.judgement.health import Health
from sim2edge.edge.obstacle_detector import ObstacleDetector


@pytest.fixture
def service(slot) -> DetectorService:
    return DetectorService(ObstacleDetector(slot))


def raising(error: Exception):
    """A detector's `detect` that raises an error, after libraries have wrapped it."""

    def detect(_image):
        raise RuntimeError("Invoke() failed") from error

    return detect


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError("Unable to allocate 9.00 MiB"), "machine"),
        (OSError(5, "Input/output error"), "machine"),
        (RuntimeError("std::bad_alloc"), "machine"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 4096"), "machine"),
        (ValueError("outputs are not finite"), "inference"),
    ],
)
def test_an_inference_that_gets_no_memory_is_counted_apart(service, monkeypatch, error, kind):
    monkeypatch.setattr(service._detector, "detect", raising(error))
    with pytest.raises(RuntimeError):
        service.infer(np.zeros((8, 8, 3), np.uint8))
    report = service.health.report()
    counts = {name: report[f"{name}_errors"] for name in ("camera", "inference", "machine")}
    assert counts == {"camera": 0, "inference": 0, "machine": 0} | {kind: 1}
    assert report["inference_under_way"] is False


class Camera:
    """A source that gives what the test says, then stops the watch."""

    def __init__(self, *gives: object) -> None:
        self._gives, self.stop = list(gives), threading.Event()

    def read(self):
        if not self._gives:
            self.stop.set()
            return np.zeros((8, 8, 3), np.uint8)
        given = self._gives.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    def close(self) -> None:
        return None


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((8, 8, 3), np.uint16),
        np.zeros((0, 8, 3), np.uint8),
        RuntimeError("can't start new thread"),
        MemoryError(),
    ],
)
def test_an_odd_picture_or_an_odd_error_of_a_driver_is_the_cameras(service, monkeypatch, odd):
    camera = Camera(odd)
    monkeypatch.setattr(service_module, "open_source", lambda _: camera)
    watch_camera(service, "0", 1000.0, camera.stop)
    report = service.health.report()
    assert (report["camera_errors"], report["inference_errors"], report["inferences"]) == (1, 0, 1)


def test_a_camera_whose_driver_raises_anything_is_opened_again(service, monkeypatch):
    camera, opened = Camera(), []

    def open_source(_name):
        opened.append(1)
        if len(opened) == 1:
            raise RuntimeError("can't start new thread")
        return camera

    monkeypatch.setattr(service_module, "open_source", open_source)
    monkeypatch.setattr(service_module, "REOPEN_S", 0.01)
    watch_camera(service, "0", 1000.0, camera.stop)
    assert len(opened) == 2
    assert service.health.report()["inferences"] == 1


def test_what_the_camera_takes_is_told_apart_from_what_the_release_takes(service, monkeypatch):
    sizes = iter([50.0, 170.0])
    monkeypatch.setattr(service.health, "memory_mb", lambda: next(sizes, 180.0))
    camera = Camera(np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setattr(service_module, "open_source", lambda _: camera)
    watch_camera(service, "0", 1000.0, camera.stop)
    report = service.health.report()
    assert (report["memory_mb"], report["camera_memory_mb"]) == (180.0, 120.0)


def test_a_detector_that_goes_on_duty_again_has_a_camera_though_the_last_read_still_hangs(monkeypatch):
    monkeypatch.setattr(service_module, "SHUTDOWN_S", 0.05)
    driver, watched = threading.Event(), []

    def watch(_service, _name, _rate, stop) -> None:
        watched.append(stop)
        (driver if len(watched) == 1 else stop).wait(20)

    monkeypatch.setattr(service_module, "watch_camera", watch)
    duty = Duty(SimpleNamespace(health=Health("r1", None)), "0", 10.0, None, ("", None))
    duty.start()
    duty.start()
    duty.stop()
    duty.start()
    deadline = time.monotonic() + 20
    while len(watched) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [stop.is_set() for stop in watched] == [True, False], "one thread a duty, and the old one is to end"
    driver.set()
    duty.stop()
