"""The augment stage: build a dataset of cleaned batches, split by episode, with augmented and balanced training frames.

sim2edge augment
sim2edge augment --input frames=refs/frames/demo-1 copies=3 noise_max_std=12
"""

from sim2edge.augment.config import AugmentConfig
from sim2edge.stage import Image, Input, Shown, Stage

STAGE = Stage(
    name="augment",
    version=2,
    produces="dataset",
    config=AugmentConfig,
    entry="sim2edge.augment.run:run",
    inputs={"frames": Input(kind="frames", many=True, default="refs/frames/*", files=("frames.parquet", "stats.json"))},
    ref="refs/datasets/current",
    shown=Shown(
        figures={split: f"splits.{split}.frames" for split in ("train", "validation", "test")},
        headline=lambda frames: f"{sum(frames.values()):,} frames" if frames else "",
    ),
    image=Image(parent="tables"),
)
