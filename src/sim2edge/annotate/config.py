"""The config of the annotate stage: which files are read, and what the names in them mean."""

from typing import Literal, Self

from pydantic import Field, model_validator

from sim2edge.frames.config import FramesConfig
from sim2edge.inbox import InboxConfig
from sim2edge.recipes.perception_names import CLASSES, FLOORS


class AnnotateConfig(FramesConfig, InboxConfig):
    """All settings that affect the frames, besides the delivered files."""

    annotations: tuple[str, ...] = Field(
        (), max_length=100, description="annotation files, relative to the folder; none named: every COCO file in it"
    )
    classes: dict[str, str] = Field(
        {}, description="name of a category to the class that it is, or to nothing: its boxes are left out"
    )
    floors: dict[str, str] = Field({}, description="name of a floor in the annotations to the floor that it is")
    floor: Literal["", *FLOORS] = Field("", description="floor of images whose annotations do not name one")  # type: ignore[valid-type]
    group: Literal["auto", "folder", "image"] = Field(
        "auto",
        description="which images are one drive, and never divided between splits: auto: the same video, "
        "else folder and head of the file name; folder: the same folder; image: each its own",
    )
    block: int = Field(
        50,
        ge=1,
        le=100_000,
        description="images of one drive, in the order of their names, where nothing tells drives apart",
    )

    @model_validator(mode="after")
    def _map_to_known_names(self) -> Self:
        for field, known in (("classes", CLASSES), ("floors", FLOORS)):
            for name, meant in getattr(self, field).items():
                if meant not in known and not (field == "classes" and meant == ""):
                    raise ValueError(f"{field}: '{name}': '{meant}' is not one of: {', '.join(known)}")
        return self
