"""Run the detector on the device: frames from a camera, single images over HTTP, health and metrics.

    python -m sim2edge.edge.detector.service --bundle /data/slots/a --token-file /data/token --source 0 --rate 10

The token comes from the file or from SIM2EDGE_DEVICE_TOKEN (`http_api`). SIGTERM ends the service cleanly. Under an
agent it hears through an inherited socket what to do (`control`): it loads and checks its model first, and takes the
camera and the port only when it goes on duty. Exit codes: 2, it cannot start here; 3, its release cannot.
"""

import argparse
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from sim2edge.edge.bundle import open_bundle
from sim2edge.edge.detector.camera_source import FrameError, Image, open_source
from sim2edge.edge.detector.control import SharedPhase, say_last_words, serve_line
from sim2edge.edge.detector.http_api import Server
from sim2edge.edge.detector.runtime import OUT_OF_MEMORY
from sim2edge.edge.events import Repeated, log
from sim2edge.edge.judgement.health import Health
from sim2edge.edge.judgement.verdict import Phase
from sim2edge.edge.obstacle_detector import Detection, ObstacleDetector
from sim2edge.edge.prometheus_metrics import DeviceMetrics
from sim2edge.edge.storage.durable import read_regular, write_durably
from sim2edge.errors import BadInput

TOKEN_VARIABLE = "SIM2EDGE_DEVICE_TOKEN"  # noqa: S105
MAX_TOKEN_BYTES = 4096
SHUTDOWN_S = 5
"""Longest wait at shutdown for a camera that hangs."""
REOPEN_S = 1.0
"""Pause before a camera that cannot be opened is tried again."""

END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXIT_HERE, EXIT_RELEASE = 2, 3
"""Exit codes: it cannot start on this device as it is now; its release cannot be used."""


class BadRelease(Exception):
    """The release cannot be loaded, or gives other results than when it was built."""


class DetectorService:
    """The detector with its counters; one inference at a time, for all callers."""

    def __init__(
        self, detector: ObstacleDetector, stall_after_s: float | None = None, phase: SharedPhase | None = None
    ) -> None:
        self._detector = detector
        self._phase = phase
        self._lock = threading.Lock()
        self.health = Health(detector.bundle.release.id, stall_after_s)
        self.metrics = DeviceMetrics(detector.bundle.release, installed=detector.bundle.installed)
        self._repeated = Repeated()

    def infer(self, image: Image) -> Detection:
        """Run the detector on one image and count the success or failure."""
        with self._lock:
            self.enter(Phase.INFERENCE)
            self.health.begins()
            start, cpu = time.perf_counter(), self._detector.cpu_seconds()
            try:
                detection = self._detector.detect(image)
            except Exception as error:
                self.fail("machine" if is_shortage(error) else "inference", error)
                raise
            finally:
                self.enter(Phase.IDLE)
            seconds = time.perf_counter() - start
            self.health.succeeded(seconds, self._detector.cpu_seconds() - cpu)
        self.metrics.observe(detection, seconds)
        return detection

    def fail(self, kind: str, error: Exception) -> None:
        """Count a frame that failed, and log it unless the same was logged lately; `kind`: see `Health`."""
        self.health.failed(kind, str(error))
        self.metrics.count_error(kind)
        self._repeated.log("error", kind=kind, error=str(error))

    def enter(self, phase: Phase) -> None:
        """Note what is done now, for the agent to know should this process crash."""
        if self._phase:
            self._phase.set(phase)


class Duty:
    """What only the detector on duty does: it reads the camera and answers on the port."""

    def __init__(
        self,
        service: DetectorService,
        source: str | None,
        rate_hz: float,
        listening: socket.socket | None,
        tokens: tuple[str, str | None],
    ) -> None:
        self._service, self._source, self._rate_hz = service, source, rate_hz
        self._listening, self._tokens = listening, tokens
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._server: Server | None = None

    def start(self) -> None:
        """Take camera and port; nothing happens on duty. Without files or memory for the port, the camera is enough."""
        with self._lock:
            self._start()

    def _start(self) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if self._threads and not self._stop.is_set():
            return
        self._stop = threading.Event()  # a thread that did not let go in time still ends by its own
        self._service.health.begin()
        if self._source:
            camera = (self._service, self._source, self._rate_hz, self._stop)
            self._threads.append(threading.Thread(target=watch_camera, args=camera, daemon=True, name="camera"))
        if self._listening:
            try:
                self._server = Server(self._listening, self._service, *self._tokens)
            except OSError as error:
                log("no port", error=str(error))
            else:
                serving = {"poll_interval": 0.05}
                self._threads.append(threading.Thread(target=self._server.serve_forever, kwargs=serving, daemon=True))
        for thread in self._threads:
            if not thread.ident:
                thread.start()

    def stop(self) -> None:
        """Let go of camera and port; requests under way are answered."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._stop.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
        deadline = time.monotonic() + SHUTDOWN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads, self._server = [thread for thread in self._threads if thread.is_alive()], None
        if not self._threads:  # else the camera does not let go: this detector is still on duty
            self._service.health.pause()


def watch_camera(service: DetectorService, name: str, rate_hz: float, stop: threading.Event) -> None:
    """Feed frames of a source to the detector, `rate_hz` a second, until `stop` is set.

    A camera that cannot be opened or gives no frame is no reason to end, whatever its driver raises: it may come back.
    """
    while not stop.is_set():
        service.enter(Phase.CAMERA)
        before_mb: float | None = service.health.memory_mb()
        try:
            source = open_source(name)
        except Exception as error:
            service.enter(Phase.IDLE)
            service.fail("camera", error)
            stop.wait(REOPEN_S)
            continue
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / rate_hz, time.monotonic())
            service.enter(Phase.CAMERA)
            try:
                image = check_image(source.read())
            except Exception as error:
                service.fail("camera", error)
                continue
            finally:
                service.enter(Phase.IDLE)
            if before_mb is not None:
                service.health.note_camera_memory(service.health.memory_mb() - before_mb)
                before_mb = None
            with suppress(Exception):  # counted and logged by infer; the agent judges the counters
                service.infer(image)
        source.close()


def check_image(image: Image) -> Image:
    """Return a picture of a camera that a release can be asked to judge.

    Raises:
        FrameError: it is not uint8 [height, width, 3]: a grey or a 16 bit camera is no fault of a release.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise FrameError(f"gave {image.dtype} pictures of shape {list(image.shape)}: expected uint8 [height, width, 3]")
    return image


def read_token(path: Path | None) -> str:
    """Return the token, from the file or from the environment.

    Raises:
        BadInput: both are missing, or the token is empty.
    """
    try:
        found = read_regular(path, MAX_TOKEN_BYTES).decode() if path else os.environ.get(TOKEN_VARIABLE, "")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise BadInput(f"token file {path}: {str(reason).lower()}") from error
    if not (token := found.strip()):
        raise BadInput(f"token file {path}: empty" if path else f"no token: give --token-file or set {TOKEN_VARIABLE}")
    return token


def read_metrics_token(path: Path | None) -> str | None:
    """Return the token that grants /metrics only; None if there is none: a robot detects without its metrics, too."""
    try:
        return read_token(path) if path else None
    except BadInput as error:
        log("metrics for the device's own token only", error=str(error))
        return None


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="sim2edge.edge.detector.service", description="Run a release on this device.")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the unpacked bundle")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0: any free one")
    parser.add_argument("--token-file", type=Path, help=f"file with the token; default: the variable {TOKEN_VARIABLE}")
    parser.add_argument("--metrics-token-file", type=Path, help="file with a token that grants /metrics only")
    parser.add_argument("--source", help="folder of JPEGs, camera index, device file or URL; default: HTTP only")
    parser.add_argument("--rate", type=float, default=10.0, help="frames a second taken from the source")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime")
    parser.add_argument("--ready-file", type=Path, help="file to write the port to once the service answers")
    parser.add_argument("--listen-fd", type=int, help="inherited socket to answer on, instead of --host and --port")
    parser.add_argument("--control-fd", type=int, help="inherited socket of the agent: wait for its word to go on duty")
    parser.add_argument("--phase-fd", type=int, help="inherited memory for the agent to read what is done")
    return parser.parse_args(arguments)


def load(arguments: argparse.Namespace, phase: SharedPhase | None) -> ObstacleDetector:
    """Load the release and check it.

    Raises:
        BadInput: its files are damaged, or this device cannot run it now.
        BadRelease: it cannot be loaded, or fails its self-test.
    """
    open_bundle(arguments.bundle)
    if phase:
        phase.set(Phase.LOAD)
    try:
        return ObstacleDetector(arguments.bundle, arguments.threads)
    except Exception as error:  # whatever a runtime raises for a model that it cannot load
        if is_shortage(error):
            raise BadInput(f"the release cannot be loaded now: {error}") from error
        open_bundle(arguments.bundle)  # were its files damaged meanwhile, that is no fault of the release
        raise BadRelease(str(error)) from error
    finally:
        if phase:
            phase.set(Phase.IDLE)


def is_shortage(error: BaseException) -> bool:
    """Return whether an error comes from a device without memory, files or a disk that reads."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    return any(isinstance(each, MemoryError | OSError) or any(w in str(each) for w in OUT_OF_MEMORY) for each in causes)


def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT, or until the agent is gone.

    Raises:
        BadInput: the token or the source cannot be used, the port is taken, or the release is damaged.
        BadRelease: the release cannot be used.
    """
    if arguments.rate <= 0:
        raise BadInput("--rate: has to be above 0")
    tokens = (read_token(arguments.token_file), read_metrics_token(arguments.metrics_token_file))
    phase = SharedPhase(arguments.phase_fd) if arguments.phase_fd is not None else None
    detector = load(arguments, phase)
    stall_after_s = max(5.0, 10 / arguments.rate) if arguments.source else None
    service = DetectorService(detector, stall_after_s, phase)
    if arguments.control_fd is None and arguments.source:
        open_source(arguments.source).close()  # a mistyped camera is an error at once
    with listen(arguments) as listening:
        duty = Duty(service, arguments.source, arguments.rate, listening, tokens)
        if arguments.control_fd is None:
            duty.start()
        else:
            obey(arguments.control_fd, service, duty)
        port = listening.getsockname()[1] if listening else None
        log("serving", release=service.health.release, port=port, on_duty=arguments.control_fd is None)
        if arguments.ready_file:
            write_durably(arguments.ready_file, f"{port}\n".encode())
        signal.sigwait(END_SIGNALS)
        duty.stop()
    log("stopped", release=service.health.release)


@contextmanager
def listen(arguments: argparse.Namespace) -> Iterator[socket.socket | None]:
    """Yield the socket to answer on: the agent's, or a new one; None: the agent has none.

    Raises:
        BadInput: the port is taken.
    """
    if arguments.listen_fd is not None:
        with socket.socket(fileno=arguments.listen_fd) as given:
            yield given
    elif arguments.control_fd is not None:
        yield None
    else:
        with open_port(arguments.host, arguments.port) as made:
            yield made


def open_port(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        BadInput: the port is taken, or not a port of this machine.
    """
    try:
        return socket.create_server((host, port), backlog=64)
    except (OSError, OverflowError) as error:
        raise BadInput(f"{host}:{port}: {error}") from error


def obey(descriptor: int, service: DetectorService, duty: Duty) -> None:
    """Do in a thread what the agent says; end with it."""

    def report(question: Mapping[str, Any]) -> Mapping[str, Any]:
        service.health.crashing = bool(question.get("crashing", service.health.crashing))
        return service.health.report()

    def go(question: Mapping[str, Any]) -> Mapping[str, Any]:
        duty.start()
        return report(question)

    def park(question: Mapping[str, Any]) -> Mapping[str, Any]:
        duty.stop()
        return report(question)

    def work() -> None:
        serve_line(descriptor, {"health": report, "go": go, "park": park})
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=work, daemon=True, name="control").start()


@contextmanager
def signals_held() -> Iterator[None]:
    """Block the ending signals for `sigwait`: a handler may run while its thread holds a needed lock."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service and return the exit code: 0 after SIGTERM, 2 or 3 when it cannot start."""
    parsed = parse_arguments(arguments)
    try:
        with signals_held():
            serve(parsed)
    except (BadInput, BadRelease, OSError, MemoryError) as error:
        log("cannot start", error=str(error))
        if parsed.control_fd is not None:
            say_last_words(parsed.control_fd, str(error))
        return EXIT_RELEASE if isinstance(error, BadRelease) else EXIT_HERE
    return 0


if __name__ == "__main__":
    sys.exit(main())
