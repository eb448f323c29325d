"""Runs in the environment of donkeycar: writes and reads tubs by its own library.

python donkeycar_side.py write FOLDER            two sessions; records 3 and 4 are deleted afterwards
python donkeycar_side.py read FOLDER OUT.npz     what the library reads of a tub
"""

import sys
import time
from pathlib import Path

import numpy as np
from donkeycar.parts.tub_v2 import Tub, TubWriter
from PIL import Image

INPUTS = ["cam/image_array", "user/angle", "user/throttle", "user/mode"]
TYPES = ["image_array", "float", "float", "str"]
HEIGHT, WIDTH, LENGTHS = 120, 160, (14, 11)


def picture(number: int) -> np.ndarray:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = (x + 7 * number, y + 5 * number, x + y + 11 * number)
    return np.stack([128 + 100 * np.sin(plane / 25) for plane in planes], axis=-1).astype(np.uint8)


def write(root: str) -> None:
    number = 0
    for length in LENGTHS:
        writer = TubWriter(root, inputs=INPUTS, types=TYPES, metadata=["car:red"], max_catalog_len=10)
        for _ in range(length):
            writer.run(picture(number), -0.5 + 0.04 * number, 0.01 * number, "user")
            number += 1
            time.sleep(0.05)
        writer.close()
    tub = Tub(root)
    tub.delete_records([3, 4])
    tub.close()
    read(root, f"{root}.npz")


def read(root: str, out: str) -> None:
    tub = Tub(root, read_only=True)
    records = list(tub)
    images = [np.array(Image.open(Path(root, Tub.images(), record["cam/image_array"]))) for record in records]
    columns = {
        name: np.array([record[name] for record in records]) for name in ("_index", "_timestamp_ms", *INPUTS[1:])
    }
    sessions = np.array([record["_session_id"] for record in records])
    shown = {name.replace("/", "."): values for name, values in columns.items()}
    meta = np.array([f"{key}:{value}" for key, value in tub.manifest.metadata.items()])
    np.savez(out, images=np.stack(images), sessions=sessions, length=len(tub), metadata=meta, **shown)
    tub.close()


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])
