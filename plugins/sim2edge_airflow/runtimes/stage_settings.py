"""Read the image and limits of each stage: `containers/stages.yaml`, or the file that `[sim2edge] stages` names.

    settings = read_stage_settings(path, "train", tag="0.1.0")

`all` in the file applies to every stage; a stage's own fields win.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from sim2edge.config import NumbersAreNumbers, read_yaml
from sim2edge.errors import Misconfigured
from sim2edge.stages import stage_names

NO_FILE = Path()
"""`[sim2edge] stages` when it is empty: every stage uses the defaults."""
RuntimeName = Literal["process", "docker", "kubernetes"]


class Toleration(NumbersAreNumbers):
    """A toleration of the stage's pod, as Kubernetes defines it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class KubernetesSettings(NumbersAreNumbers):
    """The settings that apply only in a Kubernetes cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str = Field("sim2edge", description="namespace of the pods; unset: the connection's, if it names one")
    service_account: str = Field("sim2edge-stage", description="the pods' identity; needs no rights in the cluster")
    secret: str = Field(
        "sim2edge-{stage}", description="the Secret whose key secrets.env contains the stage's credentials"
    )
    keys_secret: str = Field("sim2edge-keys", description="the Secret with the signing keys, for stages that sign")
    pull_secret: str | None = Field(None, description="the Secret to pull images with")
    node_selector: dict[str, str] = Field(default_factory=dict, description="labels a node must have")
    tolerations: list[Toleration] = Field(default_factory=list, description="taints the pod tolerates")
    scratch_gb: float = Field(20.0, gt=0, description="limit of the scratch folder, GB of a node's disk")
    gpu: str = Field("nvidia.com/gpu", description="the cluster's resource name of the GPUs that `gpus` counts")
    startup_s: int = Field(900, ge=10, description="seconds a pod may wait for a node, its volumes and its image")

    def in_namespace(self, default: str | None) -> "KubernetesSettings":
        """Return the settings with `default` as the namespace, unless they name one or there is no default."""
        if not default or "namespace" in self.model_fields_set:
            return self
        return self.model_copy(update={"namespace": default})


class StageSettings(NumbersAreNumbers):
    """One stage's image and limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runtime: RuntimeName | None = Field(None, description="runtime of this stage; empty: [sim2edge] runtime")
    image: str = Field("sim2edge/{stage}:{tag}", description="image; {stage} and {tag} are substituted", min_length=1)
    cpus: float = Field(2.0, gt=0, le=512, description="CPU limit, cores")
    memory_mb: int = Field(2048, ge=64, description="memory limit, MB, swap included")
    pids: int = Field(512, ge=16, description="limit of processes and threads")
    tmp_mb: int = Field(256, ge=16, description="size of /tmp, MB of memory")
    shm_mb: int = Field(64, ge=1, description="size of /dev/shm, MB of memory")
    gpus: int = Field(0, ge=0, le=16, description="GPUs")
    kubernetes: KubernetesSettings = KubernetesSettings()


def read_stage_settings(path: Path, stage: str, tag: str) -> StageSettings:
    """Return the settings of `stage`, with its image's name substituted.

    Raises:
        Misconfigured: the file is missing or not YAML, names an unknown stage, or a field is invalid.
    """
    content = _load(path)
    for name in content:
        if name != "all" and name not in stage_names():
            raise Misconfigured(f"{path}: '{name}' is not a stage: all, {', '.join(stage_names())}")
    merged = {**(content.get("all") or {}), **(content.get(stage) or {})}
    try:
        settings = StageSettings.model_validate(merged)
        return settings.model_copy(update={"image": settings.image.format(stage=stage, tag=tag)})
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise Misconfigured(f"{path}, {stage}: {'; '.join(problems)}") from error
    except (KeyError, IndexError, ValueError) as error:
        raise Misconfigured(
            f"{path}, {stage}: image '{merged.get('image')}': only {{stage}} and {{tag}} are substituted"
        ) from error


def _load(path: Path) -> dict[str, Any]:
    content = (read_yaml(path) if path != NO_FILE else None) or {}
    if not isinstance(content, dict) or not all(isinstance(part, dict | None) for part in content.values()):
        raise Misconfigured(f"{path}: expected stages, each with its fields")
    return content
