"""Build the request that creates a stage's container. Pure: no engine is contacted.

Hardened by default: an unprivileged user, a read-only root, no capabilities, limits of memory, CPU and processes. A
stage may write only `/scratch` (a volume of its own) and `/tmp` (memory). Its credentials are a file in a second
volume, written before the start (`secret_files`), so that they appear in no inspection, process list or image; both
volumes are removed with the container. Airflow's own operator passes them as variables, visible to every user who may
inspect a container, and once also in Airflow's UI: https://github.com/apache/airflow/issues/30089.
"""

import io
import tarfile
from collections.abc import Mapping
from typing import Any

from sim2edge.secrets_file import format_secrets
from sim2edge_airflow.runtimes.runtime import StageJob

LABEL = "sim2edge."
USER = 10001
SCRATCH = "/scratch"
TMP = "/tmp"  # noqa: S108 - the container's own
SECRETS_FOLDER = "/run/sim2edge"
SECRETS_FILE = f"{SECRETS_FOLDER}/secrets.env"
KEYS_FOLDER = f"{SECRETS_FOLDER}/keys"
KILL_AFTER_S = 30
"""Seconds between SIGTERM and SIGKILL at the deadline."""
MB = 1024 * 1024
LOG_MB = 64
"""Size of a log file; the engine keeps two per container."""


def container_spec(job: StageJob, image: str, network: str) -> dict[str, Any]:
    """Return the body of the request that creates the container.

    Args:
        job: the stage to run.
        image: the image's id, which also goes into the manifest of the stage's artifact.
        network: the network of stage containers.
    """
    # A deadline enforced by the client would die with the client: https://github.com/apache/airflow/issues/9732
    deadline = ["timeout", "--signal=TERM", f"--kill-after={KILL_AFTER_S}s", f"{job.deadline_s}s"]
    return {
        "Image": image,
        "User": f"{USER}:{USER}",
        "Entrypoint": [*deadline, "sim2edge"],
        "Cmd": list(job.arguments),
        "Env": [f"{name}={value}" for name, value in container_environment(job, image).items()],
        "Labels": container_labels(job),
        "Volumes": {SCRATCH: {}, SECRETS_FOLDER: {}},
        "HostConfig": host_config(job, network),
    }


def container_environment(job: StageJob, image: str) -> dict[str, str]:
    """Return the variables of the container, none of them secret."""
    keys = {"SIM2EDGE_KEYS": KEYS_FOLDER} if job.keys else {}
    own = {"SIM2EDGE_IMAGE": image, "SIM2EDGE_SECRETS_FILE": SECRETS_FILE, "SIM2EDGE_SCRATCH": SCRATCH, "HOME": TMP}
    return {**job.environment, **own, **keys, "PYTHONUNBUFFERED": "1"}


def container_labels(job: StageJob) -> dict[str, str]:
    """Return the labels of the container: its owner, and its deadline, to explain a timeout."""
    return {LABEL + name: value for name, value in {**job.labels, "deadline_s": str(job.deadline_s)}.items()}


def host_config(job: StageJob, network: str) -> dict[str, Any]:
    """Return the container's limits and privileges on its host."""
    settings = job.settings
    config = {
        "Init": True,
        "ReadonlyRootfs": True,
        "Tmpfs": {TMP: f"rw,nosuid,nodev,noexec,size={settings.tmp_mb}m,mode=1777"},
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Memory": settings.memory_mb * MB,
        "MemorySwap": settings.memory_mb * MB,
        # a limit, unlike the weight that is `cpus` of DockerOperator: https://github.com/apache/airflow/pull/1465
        "NanoCpus": int(settings.cpus * 1e9),
        "PidsLimit": settings.pids,
        "ShmSize": settings.shm_mb * MB,
        "NetworkMode": network,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": f"{LOG_MB}m", "max-file": "2"}},
    }
    if settings.gpus:
        config["DeviceRequests"] = [{"Driver": "", "Count": settings.gpus, "Capabilities": [["gpu"]]}]
    return config


def owner_filter(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the filter that finds the containers with these labels."""
    return {"label": [f"{LABEL}{name}={value}" for name, value in labels.items()]}


def secret_files(job: StageJob) -> bytes:
    """Return a tar archive of the credentials, and of the keys if any, readable only by the stage's user."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        _add(archive, "secrets.env", 0o400, format_secrets(job.secrets).encode())
        if job.keys:
            _add(archive, "keys", 0o500)
        for name, key in job.keys.items():
            _add(archive, f"keys/{name}", 0o400, key)
    return content.getvalue()


def _add(archive: tarfile.TarFile, name: str, mode: int, content: bytes | None = None) -> None:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
    entry.mode, entry.uid, entry.gid, entry.size = mode, USER, USER, len(content or b"")
    archive.addfile(entry, io.BytesIO(content or b""))
