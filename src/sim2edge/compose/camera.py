"""Draw the images of the virtual devices' cameras: rooms that no batch captures, once, into a folder of JPEGs.

    python -m sim2edge.compose.camera --frames 240 /frames

The rooms are drawn from a batch id of their own, so nothing is ever trained on them, and the frames exist before the
first release does. Runs in the image of the capture stage; a folder with frames stays unchanged.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sim2edge.cli import guard

BATCH = "device-cameras"
FRAMES_A_ROOM = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the frames and return the exit code."""
    parser = argparse.ArgumentParser(prog="sim2edge.compose.camera", description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=240, help="number of frames (default 240)")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args(argv)
    return guard(lambda: fill(arguments.folder, arguments.frames))


def fill(folder: Path, count: int) -> int:
    """Draw `count` frames into `folder`, unless it has as many."""
    there = len(list(folder.glob("*.jpg")))
    if there >= count:
        print(f"{folder}: {there} frames exist")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    for number, jpeg in zip(range(count), draw_frames(), strict=False):
        part = folder / f".{number:04d}.part"
        part.write_bytes(jpeg)
        part.replace(folder / f"{number:04d}.jpg")
    print(f"{folder}: drew {count} frames")
    return 0


def draw_frames() -> Iterator[bytes]:
    """Yield JPEGs of drives through one room after another, endlessly."""
    import cv2

    from sim2edge.capture.config import CaptureConfig
    from sim2edge.capture.driver import Expert
    from sim2edge.capture.mujoco_simulator import MujocoSimulator
    from sim2edge.capture.room_simulator import draw_episode, occupancy_of
    from sim2edge.episodes.formats import beam_angles

    config = CaptureConfig()
    simulator, angles = MujocoSimulator(config, "ray"), beam_angles(config.lidar)
    room = 0
    while True:
        spec, _ = draw_episode(config, BATCH, room)
        room += 1
        simulator.reset(spec)
        driver = Expert(spec, occupancy_of(spec.room))
        for _ in range(FRAMES_A_ROOM):
            view = simulator.observe()
            picture = cv2.cvtColor(view.image, cv2.COLOR_RGB2BGR)
            yield cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, config.camera.quality])[1].tobytes()
            if simulator.step(driver.drive(view, view.ranges, angles).applied).touched:
                break


if __name__ == "__main__":
    sys.exit(main())
