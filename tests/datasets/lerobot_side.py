"""Runs in the environment of LeRobot: writes and reads datasets by its own library.

python lerobot_side.py write FOLDER KIND CODEC       a dataset; what it has is printed as JSON
python lerobot_side.py read FOLDER OUT.npz           what the library reads of a dataset
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch

# torchvision's operators are not built for a torch of the CPU alone; its import wants to know that these exist.
operators = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import av  # noqa: E402
from lerobot.datasets.aggregate import aggregate_datasets  # noqa: E402
from lerobot.datasets.dataset_tools import delete_episodes  # noqa: E402
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402

CAMERA, HEIGHT, WIDTH, LENGTHS = "observation.images.front", 96, 128, (15, 12, 20)


def picture(number: int) -> np.ndarray:
    """A smooth image of its own for each number: codecs keep it."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = (x + 7 * number, y + 5 * number, x + y + 11 * number)
    return np.stack([128 + 100 * np.sin(plane / 25) for plane in planes], axis=-1).astype(np.uint8)


def action(number: int) -> list[float]:
    return [0.1 + 0.01 * number, 0.0, -45.0 + number]


def write(root: str, kind: str, codec: str) -> None:
    record(root, kind, codec)
    numbers = range(sum(LENGTHS))
    np.savez(f"{root}.npz", pictures=np.stack([picture(each) for each in numbers]), frames=decode(root))


def record(root: str, kind: str, codec: str, first: int = 0, megabytes: float = 100) -> LeRobotDataset:
    """Write a dataset of pictures from `first` on, in files of at most some size."""
    features = {
        CAMERA: {"dtype": kind, "shape": (HEIGHT, WIDTH, 3), "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (3,), "names": ["x.vel", "y.vel", "theta.vel"]},
    }
    kept = {"root": root, "robot_type": "lekiwi", "use_videos": kind == "video", "vcodec": codec}
    dataset = LeRobotDataset.create("test/written", fps=10, features=features, **kept)
    dataset.meta.info |= {"video_files_size_in_mb": megabytes, "data_files_size_in_mb": megabytes, "chunks_size": 2}
    number = first
    for length in LENGTHS:
        for _ in range(length):
            values = np.array(action(number), np.float32)
            dataset.add_frame({CAMERA: picture(number), "action": values, "task": "drive"})
            number += 1
        dataset.save_episode(parallel_encoding=False)
    dataset.finalize()
    return LeRobotDataset("test/written", root=root)


def edit(root: str) -> None:
    """Merge two datasets, and delete the second episode of another, as users do."""
    roots = [Path(root, name) for name in ("first", "second")]
    for at, each in enumerate(roots):
        record(str(each), "video", "libsvtav1", at * sum(LENGTHS), 0.002)
    aggregate_datasets(["test/written"] * 2, "test/merged", roots=roots, aggr_root=Path(root, "merged"))
    whole = record(str(Path(root, "whole")), "video", "libsvtav1")
    delete_episodes(whole, [1], output_dir=Path(root, "shortened"), repo_id="test/shortened")
    np.savez(f"{root}.npz", pictures=np.stack([picture(each) for each in range(2 * sum(LENGTHS))]))


def decode(root: str) -> np.ndarray:
    """The frames of the videos as FFmpeg decodes them."""
    frames = []
    for path in sorted(Path(root, "videos").rglob("*.mp4")):
        with av.open(str(path)) as container:
            frames += [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.array(frames)


def read(root: str, out: str) -> None:
    dataset = LeRobotDataset("test/read", root=root)
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=False)
    batches = list(loader)
    found = {key: torch.cat([batch[key] for batch in batches]).numpy() for key in batches[0] if key not in ("task",)}
    tasks = [task for batch in batches for task in batch["task"]]
    past = LeRobotDataset("test/read", root=root, delta_timestamps={"action": [-0.1, 0.0]})
    index = dataset.meta.episodes
    boundaries = np.array([index["dataset_from_index"], index["dataset_to_index"]]).T
    one = LeRobotDataset("test/read", root=root, episodes=[len(boundaries) - 1])
    about = {
        "len": len(dataset), "episodes": dataset.num_episodes, "fps": dataset.fps, "tasks": sorted(set(tasks)),
        "features": {name: list(each["shape"]) for name, each in dataset.features.items()}, "last": len(one),
        "cameras": dataset.meta.camera_keys, "stats": {k: sorted(v) for k, v in dataset.meta.stats.items()},
    }  # fmt: skip
    stats = {f"stats/{key}/{name}": value for key, each in dataset.meta.stats.items() for name, value in each.items()}
    np.savez(
        out,
        **found,
        boundaries=boundaries,
        past=np.stack([past[i]["action"].numpy() for i in range(len(past))]),
        **stats,
    )
    print(json.dumps(about))


if __name__ == "__main__":
    {"write": write, "edit": edit, "read": read}[sys.argv[1]](*sys.argv[2:])
