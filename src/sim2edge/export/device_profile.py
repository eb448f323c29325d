"""Read device profiles: latencies of each variant on a class of device, measured once, committed to `conf/profiles/`.

The profile decides which variant is released, never the machine that happens to export it, so the choice is the same
everywhere. `resolve` copies the profile into the config when a run is planned, hence into the artifact's id.
`python -m sim2edge.export.measure_profile` creates one.
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
    """Latencies of the variants of one network on the device."""

    recipe: str = Field(description="recipe of the network")
    network: dict[str, int | float] = Field(
        min_length=1, description="arguments of the network that affect its latency, as in `model.json`"
    )
    latency_ms: dict[DeviceVariant, Milliseconds] = Field(description="median of one detection by variant, ms")
    measured: str = Field(min_length=1, description="conditions: date, processor, threads, runtimes, command")


class DeviceProfile(StageConfig):
    """All measurements on a class of device; without networks nothing was measured."""

    device_class: str = Field(default="", description="class of device, the name of the file")
    rate_hz: float = Field(
        default=10.0, gt=0, le=1000, description="frames a second that the slowest devices of the class take, Hz"
    )
    networks: list[MeasuredNetwork] = Field(default=[], description="the networks that were measured")

    def find(self, recipe: str, network: Mapping[str, Any]) -> MeasuredNetwork | None:
        """Return the first entry of this recipe whose arguments all equal those of `network`; None if no entry does."""
        for each in self.networks:
            if each.recipe == recipe and all(network.get(name) == value for name, value in each.network.items()):
                return each
        return None


def resolve(config: "ExportConfig") -> "ExportConfig":
    """Fill in the profile of the config's device class; an empty one if its file is missing.

    Raises:
        BadInput: the profile is invalid, or of another class.
    """
    profile = config.profile or read_profile(config.device_class)
    if profile.device_class != config.device_class:
        raise BadInput(
            f"export.profile: is of device class '{profile.device_class}', but device_class is '{config.device_class}'"
        )
    return config.model_copy(update={"profile": profile})


def read_profile(device_class: str) -> DeviceProfile:
    """Read `conf/profiles/<device_class>.yaml`; return an empty profile if the file is missing.

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
    """Return the file of the profile of a device class."""
    return conf_folder() / "profiles" / f"{device_class}.yaml"
