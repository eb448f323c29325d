"""The config of the train stage."""

from typing import Literal

from pydantic import Field

from sim2edge.config import StageConfig


class TrainConfig(StageConfig):
    """Parameters of the perception network and its training."""

    recipe: Literal["perception"] = Field(default="perception", description="what is learned")
    width_multiplier: float = Field(
        default=0.5, ge=0.125, le=4, description="channels, as a multiple of the full network"
    )
    epochs: int = Field(default=60, ge=1, le=10_000, description="passes over the training split, at most")
    batch_size: int = Field(default=64, ge=2, le=4096, description="frames a step")
    learning_rate: float = Field(default=4e-3, gt=0, le=1, description="peak of the schedule, per step of AdamW")
    weight_decay: float = Field(default=0.02, ge=0, le=1, description="decoupled, on convolution weights only")
    warmup_epochs: float = Field(default=1.0, ge=0, description="epochs of linear rise to the peak, then a cosine to 0")
    patience: int = Field(default=12, ge=1, description="epochs without a better validation score before stopping")
    flip: float = Field(default=0.5, ge=0, le=1, description="share of training frames mirrored anew in each epoch")
    recolour: float = Field(
        default=0.5, ge=0, le=1, description="share of training frames with channels swapped and scaled in each epoch"
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of weights, order and mirroring")
    amp: bool = Field(default=True, description="bfloat16 on a GPU; the CPU always uses float32")
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="processor or GPU to train on")
    threads: int = Field(default=1, ge=1, le=256, description="CPU threads; with one, runs are byte-identical")

    @property
    def reproducible(self) -> bool:
        """Whether the same config and dataset produce the same bytes, not only the same metrics within a tolerance."""
        return self.device == "cpu" and self.threads == 1
