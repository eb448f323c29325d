"""The folder of an episode: `simulation.mcap`, `lidar.csv`, `config.yaml` and `result.json`, the same bytes every time.

    with Recorder(folder, spec, config, "mujoco", "ray") as recorder:
        recorder.write(view.image, ranges, view.pose, command, boxes)
    result = recorder.finish(...)

docs/data-format.md specifies the files.
"""

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.labels import Box
from sim2edge.capture.lidar_capture import beam_angles, write_csv
from sim2edge.capture.mcap_log import McapLog, Tick
from sim2edge.capture.simulator import Command
from sim2edge.capture.specs import EpisodeSpec, Pose
from sim2edge.config import decisive


class EpisodeResult(BaseModel):
    """`result.json`: how an episode went."""

    model_config = ConfigDict(frozen=True)

    episode_id: str
    seed: str
    success: bool
    failure_reason: str
    duration_s: float
    frames: int
    path_length_m: float
    goals_reached: int
    collisions: int
    min_clearance_m: float
    floor: str
    simulator: str
    camera_backend: str
    trace_sha256: str
    """Over times, poses, commands and scans: equal for equal drives, whatever drew the images."""


class Recorder:
    """Writes one episode's folder, tick by tick."""

    def __init__(self, folder: Path, spec: EpisodeSpec, config: CaptureConfig, simulator: str, backend: str) -> None:
        folder.mkdir(parents=True)
        self._folder, self._spec, self._quality = folder, spec, config.camera.quality
        self._made_by = {"simulator": simulator, "camera_backend": backend}
        self._times: list[float] = []
        self._scans: list[NDArray[np.float64]] = []
        self._trace = hashlib.sha256()
        content = self._made_by | {"config": decisive(config), "episode": spec.model_dump(mode="json")}
        text = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False)
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        metadata = {"episode_id": spec.episode_id, "seed": spec.seed} | self._made_by
        self._log = McapLog(folder / "simulation.mcap", beam_angles(config.lidar), metadata)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()

    def write(
        self, image: NDArray[np.uint8], ranges: NDArray[np.float64], pose: Pose, command: Command, boxes: list[Box]
    ) -> None:
        """Log the next tick: an RGB image, the scan, the truth about both, and the command chosen on them.

        Raises:
            OSError: an earlier tick could not be written; the disk is full, say.
        """
        jpeg = encode_jpeg(image, self._quality)
        tick = Tick(len(self._times), jpeg, ranges, pose, command, self._spec.room.floor, boxes)
        self._log.write(tick)
        self._times.append(tick.time_ns / 1e9)
        self._scans.append(ranges)
        self._trace.update(np.array([tick.time_ns, *pose, *command, *ranges]).tobytes())

    def finish(self, **fields: Any) -> EpisodeResult:
        """Write `lidar.csv` and `result.json`; `fields` are those of `EpisodeResult` that the recorder cannot know."""
        write_csv(self._folder / "lidar.csv", self._times, self._scans)
        known: dict[str, Any] = self._made_by | {
            "episode_id": self._spec.episode_id,
            "seed": self._spec.seed,
            "frames": len(self._times),
            "floor": self._spec.room.floor,
            "trace_sha256": self._trace.hexdigest(),
        }
        result = EpisodeResult(**known, **fields)
        text = json.dumps(result.model_dump(), indent=2, allow_nan=False)
        (self._folder / "result.json").write_text(text + "\n", encoding="utf-8")
        return result


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """Encode an RGB image (height, width, 3); `quality` in percent."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("the JPEG encoder failed")
    return bytes(data)
