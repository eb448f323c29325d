"""The augment stage: build a dataset of cleaned batches, split by drive, with augmented and balanced training frames.

sim2edge augment
sim2edge augment --input frames=refs/frames/demo-1 copies=3 noise_max_std=12
"""

from collections.abc import Mapping

from sim2edge.augment.config import AugmentConfig
from sim2edge.stage import Image, Input, Shown, Stage


def count_frames(splits: Mapping[str, int]) -> str:
    """Return the frames of all splits in words that fit into a cell: `9,101 frames`, from 100,000 on `400 k frames`."""
    if not splits:
        return ""
    count = sum(splits.values())
    return f"{count / 1000:,.0f} k frames" if count >= 100_000 else f"{count:,} frames"


STAGE = Stage(
    name="augment",
    version=3,
    produces="dataset",
    config=AugmentConfig,
    entry="sim2edge.augment.run:run",
    inputs={"frames": Input(kind="frames", many=True, default="refs/frames/*", files=("frames.parquet", "stats.json"))},
    ref="refs/datasets/current",
    shown=Shown(
        figures={split: f"splits.{split}.frames" for split in ("train", "validation", "test")},
        headline=count_frames,
        documented="retraining",
    ),
    image=Image(parent="tables"),
)
