"""Write an episode's folder: `simulation.mcap`, `lidar.csv`, `config.yaml`, `result.json`; the bytes are reproducible.

    with Recorder(folder, spec, config, "mujoco", "ray") as recorder:
        recorder.write(Tick(...))
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

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.mcap_log import McapLog
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.capture.tick import Tick
from sim2edge.config import cache_key_fields
from sim2edge.episodes.formats import write_csv
from sim2edge.episodes.jpeg import encode_jpeg
from sim2edge.episodes.result import EpisodeResult


class Recorder:
    """Writes one episode's folder, tick by tick."""

    def __init__(self, folder: Path, spec: EpisodeSpec, config: CaptureConfig, simulator: str, backend: str) -> None:
        (folder / "images" if config.camera.images else folder).mkdir(parents=True)
        self._folder, self._spec, self._camera = folder, spec, config.camera
        self._made_by = {"simulator": simulator, "camera_backend": backend}
        self._times: list[float] = []
        self._scans: list[NDArray[np.float64]] = []
        self._trace = hashlib.sha256()
        content = self._made_by | {"config": cache_key_fields(config), "episode": spec.model_dump(mode="json")}
        text = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False)
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        metadata = {"episode_id": spec.episode_id, "seed": spec.seed} | self._made_by
        self._log = McapLog(folder / "simulation.mcap", spec, config, metadata)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()

    def write(self, tick: Tick) -> None:
        """Log the next tick.

        Raises:
            OSError: an earlier tick could not be written, for example because the disk is full.
        """
        jpeg = encode_jpeg(tick.image, self._camera.quality)
        mask = encode_mask(tick.instances) if self._camera.masks and tick.instances is not None else None
        self._log.write(tick, jpeg, mask)
        if self._camera.images:
            (self._folder / "images" / f"{tick.index:04d}.jpg").write_bytes(jpeg)
        self._times.append(tick.time_ns / 1e9)
        self._scans.append(tick.ranges)
        moved = [tick.time_ns, *tick.pose, *tick.odometry, *tick.command, *tick.applied]
        for values in (np.array(moved), tick.ranges, tick.imu, *([] if tick.cloud is None else [tick.cloud])):
            self._trace.update(np.ascontiguousarray(values, "<f8").tobytes())

    def finish(self, **fields: Any) -> EpisodeResult:
        """Write `lidar.csv` and `result.json`; `fields` are those of `EpisodeResult` unknown to the recorder."""
        write_csv(self._folder / "lidar.csv", self._times, self._scans)
        known: dict[str, Any] = self._made_by | {
            "episode_id": self._spec.episode_id,
            "seed": self._spec.seed,
            "frames": len(self._times),
            "checkpoints": len(self._spec.checkpoints),
            "driver": self._spec.driver,
            "layout": self._spec.room.layout,
            "floor": self._spec.room.floor,
            "style": self._spec.room.style,
            "trace_sha256": self._trace.hexdigest(),
        }
        result = EpisodeResult(**known | fields)
        text = json.dumps(result.model_dump(mode="json"), indent=2, allow_nan=False)
        (self._folder / "result.json").write_text(text + "\n", encoding="utf-8")
        return result


def encode_mask(instances: NDArray[np.int16]) -> bytes:
    """Encode instances (height, width) as a grey PNG of instance + 1, 0 for none, with 16 bits if 8 are too few."""
    levels = instances + 1
    depth = np.uint8 if levels.max() < 256 else np.uint16
    done, data = cv2.imencode(".png", levels.astype(depth), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise RuntimeError("the PNG encoder failed")
    return bytes(data)
