"""Device profiles: latencies of each variant on a class of device, measured once and committed to `conf/profiles/`.

A release is chosen by such a table and never by the machine that happens to export it, so the choice is the same
everywhere. `resolve` puts the table into the config when a run is planned, hence into the artifact's id.
`python -m sim2edge.export.measure_profile` makes one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from sim2edge.config import StageConfig, build, conf_folder, read_yaml
from sim2edge.errors import BadInput

if TYPE_CHECKING:
    from sim2edge.export.config import ExportConfig

DeviceVariant = Literal["onnx", "tflite-float32", "tflite-float16", "tflite-int8"]
"""A variant that a device runtime loads."""

Milliseconds = Annotated[float, Field(gt=0)]


class MeasuredNetwork(StageConfig):
    """What the variants of one network take on the device."""

    recipe: str = Field(description="recipe of the network")
    network: dict[str, int | float] = Field(
        min_length=1, description="arguments of the network that decide its cost, as in `model.json`"
    )
    latency_ms: dict[DeviceVariant, Milliseconds] = Field(description="median of one detection by variant, ms")
    measured: str = Field(min_length=1, description="how: date, processor, threads, runtimes, command")


class DeviceProfile(StageConfig):
    """All that was measured on a class of device; no networks: nothing was."""

    device_class: str = Field(default="", description="class of device, the name of the file")
    networks: list[MeasuredNetwork] = Field(default=[], description="the networks that were measured")

    def find(self, recipe: str, network: Mapping[str, Any]) -> MeasuredNetwork | None:
        """Return the first entry of this recipe whose arguments are all those of `network`; None if there is none."""
        for each in self.networks:
            if each.recipe == recipe and all(network.get(name) == value for name, value in each.network.items()):
                return each
        return None


def resolve(config: "ExportConfig") -> "ExportConfig":
    """Fill in the profile of the config's device class: an empty one if there is no such file.

    Raises:
        BadInput: the profile is not one, or that of another class.
    """
    profile = config.profile or read_profile(config.device_class)
    if profile.device_class != config.device_class:
        raise BadInput(
            f"export.profile: is of device class '{profile.device_class}', but device_class is '{config.device_class}'"
        )
    return config.model_copy(update={"profile": profile})


def read_profile(device_class: str) -> DeviceProfile:
    """Read `conf/profiles/<device_class>.yaml`; an empty profile if there is no such file.

    Raises:
        BadInput: it is not YAML, lacks a field, or a value is out of range.
    """
    path = profile_path(device_class)
    if not path.is_file():
        return DeviceProfile(device_class=device_class)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise BadInput(f"{path}: expected a mapping with device_class and networks")
    return build(DeviceProfile, content, str(path))


def profile_path(device_class: str) -> Path:
    """Return where the profile of a device class lies."""
    return conf_folder() / "profiles" / f"{device_class}.yaml"
