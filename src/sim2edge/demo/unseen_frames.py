"""Write images for the virtual device: frames of episodes that no training and no model selection has seen."""

import tempfile
from pathlib import Path

import pyarrow.parquet as parquet

from sim2edge.bus import Bus
from sim2edge.errors import BadInput


def write_unseen_frames(bus: Bus, dataset: str, folder: Path, most: int = 300) -> int:
    """Write frames of a dataset's test split as `<episode>-<frame>.jpg` files into `folder`.

    Args:
        bus: the bucket with the dataset.
        dataset: its reference.
        folder: created if missing; frames of an earlier call are replaced.
        most: the number of frames at most, spread evenly over the split.

    Returns:
        the number of frames written.

    Raises:
        BadInput: the test split is empty.
    """
    with tempfile.TemporaryDirectory() as scratch:
        artifact = bus.fetch(bus.open(dataset), Path(scratch), ("test.parquet",))
        table = parquet.read_table(artifact.path("test.parquet"), columns=["episode_id", "frame", "image"])
    if table.num_rows == 0:
        raise BadInput(f"{dataset}/test.parquet: no frames for the device's camera")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    step = max(1, table.num_rows // most)
    rows = table.take(list(range(0, table.num_rows, step))).to_pylist()
    for row in rows:
        (folder / f"{row['episode_id']}-{row['frame']:04d}.jpg").write_bytes(row["image"])
    return len(rows)
