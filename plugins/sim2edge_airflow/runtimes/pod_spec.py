"""Build the pod of a stage from its job with Airflow's KubernetesPodOperator, and read a pod's status. Pure.

    pod = build_pod(job)     a V1Pod, ready for the cluster; tests check it against the API's schema
    end = pod_status(pod)    the status of the run in a pod that the cluster returned

Airflow passes no secret to a pod: its credentials are a Secret of the cluster, mounted as the file that a stage reads
in every runtime. Label values are restricted in length and characters, so labels carry sanitized values; annotations
carry the exact ones.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value
from kubernetes.client import models as k8s

from sim2edge.lines import join_lines
from sim2edge_airflow.runtimes.runtime import RunStatus, StageJob
from sim2edge_airflow.runtimes.stage_settings import StageSettings

CONTAINER = "stage"
LABEL = "sim2edge."
USER = 10001
GRACE_S = 30
"""Seconds between SIGTERM and SIGKILL."""
LOST_AFTER_S = 90
"""Seconds after its grace period after which the node of a pod that is still listed counts as lost."""
EXIT_DEADLINE = 124
EXIT_KILLED = 137
READABLE_BY_GROUP = 0o440
"""Mode of a Secret's files, which belong to root and to the pod's group."""
SECRETS_FILE = "/run/sim2edge/secrets.env"
KEYS_FOLDER = "/run/sim2edge/keys"
ARTIFACT, STARTUP, DEADLINE = f"{LABEL}artifact", f"{LABEL}startup_s", f"{LABEL}deadline_s"
UNDISTURBED = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
"""Annotations that keep autoscalers from evicting a stage to free an underused node."""


def build_pod(job: StageJob) -> k8s.V1Pod:
    """Return the pod of `job`, with a unique name.

    `pod_mutation_hook` of the deployment's airflow_local_settings applies, as to every pod of Airflow.
    """
    return KubernetesPodOperator(**pod_arguments(job)).build_pod_request_obj(dry_run=True)


def pod_arguments(job: StageJob) -> dict[str, Any]:
    """Return the arguments of KubernetesPodOperator for `job`."""
    settings, cluster = job.settings, job.settings.kubernetes
    volumes, mounts = pod_volumes(job)
    return {
        "task_id": job.stage,
        "name": f"sim2edge-{job.stage}",
        "namespace": cluster.namespace,
        "image": settings.image,
        "base_container_name": CONTAINER,
        "cmds": pod_command(job.deadline_s),
        "arguments": [literal(word) for word in job.arguments],
        "env_vars": [k8s.V1EnvVar(name, literal(value)) for name, value in pod_environment(job).items()],
        "labels": {f"{LABEL}{name}": make_safe_label_value(value) for name, value in job.labels.items()},
        "annotations": pod_annotations(job),
        "container_resources": pod_resources(settings),
        "volumes": volumes,
        "volume_mounts": mounts,
        "node_selector": dict(cluster.node_selector),
        "tolerations": [k8s.V1Toleration(**toleration.model_dump()) for toleration in cluster.tolerations],
        "service_account_name": cluster.service_account,
        "automount_service_account_token": False,
        "image_pull_secrets": [k8s.V1LocalObjectReference(cluster.pull_secret)] if cluster.pull_secret else [],
        "security_context": k8s.V1PodSecurityContext(
            run_as_non_root=True,
            run_as_user=USER,
            run_as_group=USER,
            fs_group=USER,
            seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
        ),
        "container_security_context": k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            run_as_non_root=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        # Later than the deadline inside the container, which is logged and has an exit code of its own.
        "active_deadline_seconds": job.deadline_s + cluster.startup_s + GRACE_S,
        "termination_grace_period": GRACE_S,
        "full_pod_spec": k8s.V1Pod(spec=k8s.V1PodSpec(containers=[], enable_service_links=False)),
        "do_xcom_push": False,
    }


def pod_annotations(job: StageJob) -> dict[str, str]:
    """Return the annotations of the pod: its owner's exact labels and its limits."""
    owner = {f"{LABEL}{name}": value for name, value in job.labels.items()}
    limits = {STARTUP: str(job.settings.kubernetes.startup_s), DEADLINE: str(job.deadline_s)}
    return {**owner, **limits, **UNDISTURBED}


def pod_command(deadline_s: int) -> list[str]:
    """Return the command of the container; the stage's arguments follow it."""
    timeout = ["timeout", "--signal=TERM", f"--kill-after={GRACE_S}s", f"{deadline_s}s"]
    return ["tini", "-g", "--", *timeout, "sim2edge"]


def pod_environment(job: StageJob) -> dict[str, str]:
    """Return the variables of the container: settings and paths, no secrets."""
    keys = {"SIM2EDGE_KEYS": KEYS_FOLDER} if job.signs else {}
    return {
        **job.environment,
        "HOME": "/tmp",  # noqa: S108 - a volume of the pod's own
        "PYTHONUNBUFFERED": "1",
        "SIM2EDGE_IMAGE": job.settings.image,
        "SIM2EDGE_SCRATCH": "/scratch",
        "SIM2EDGE_SECRETS_FILE": SECRETS_FILE,
        **keys,
    }


def literal(text: str) -> str:
    """Escape `$`: Kubernetes expands `$(NAME)` in arguments and variables."""
    return text.replace("$", "$$")


def pod_resources(settings: StageSettings) -> k8s.V1ResourceRequirements:
    """Return the resources, with requests equal to limits: the stage is neither throttled nor evicted for others."""
    amounts = {
        "cpu": f"{round(settings.cpus * 1000)}m",
        "memory": f"{settings.memory_mb}Mi",
        "ephemeral-storage": megabytes(settings.kubernetes.scratch_gb),
    }
    if settings.gpus:
        amounts[settings.kubernetes.gpu] = str(settings.gpus)
    return k8s.V1ResourceRequirements(requests=dict(amounts), limits=dict(amounts))


def pod_volumes(job: StageJob) -> tuple[list[k8s.V1Volume], list[k8s.V1VolumeMount]]:
    """Return the volumes and their mounts: the writable folders and the Secrets."""
    settings, cluster = job.settings, job.settings.kubernetes
    secret = cluster.secret.format(stage=job.stage)
    volumes = [
        memory_volume("tmp", settings.tmp_mb),
        memory_volume("shm", settings.shm_mb),
        k8s.V1Volume(name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit=megabytes(cluster.scratch_gb))),
        secret_volume("secrets", secret, [k8s.V1KeyToPath("secrets.env", path="secrets.env")]),
    ]
    mounts = [
        k8s.V1VolumeMount(name="tmp", mount_path="/tmp"),  # noqa: S108
        k8s.V1VolumeMount(name="shm", mount_path="/dev/shm"),  # noqa: S108
        k8s.V1VolumeMount(name="scratch", mount_path="/scratch"),
        k8s.V1VolumeMount(name="secrets", mount_path=SECRETS_FILE, sub_path="secrets.env", read_only=True),
    ]
    if job.signs:
        volumes.append(secret_volume("keys", cluster.keys_secret))
        mounts.append(k8s.V1VolumeMount(name="keys", mount_path=KEYS_FOLDER, read_only=True))
    return volumes, mounts


def memory_volume(name: str, size_mb: int) -> k8s.V1Volume:
    """Return a volume in memory, which counts towards the container's memory limit."""
    return k8s.V1Volume(name=name, empty_dir=k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit=f"{size_mb}Mi"))


def secret_volume(name: str, secret: str, items: list[k8s.V1KeyToPath] | None = None) -> k8s.V1Volume:
    """Return a volume with a Secret's keys as files."""
    source = k8s.V1SecretVolumeSource(secret_name=secret, default_mode=READABLE_BY_GROUP, items=items)
    return k8s.V1Volume(name=name, secret=source)


def megabytes(gigabytes: float) -> str:
    """Return gigabytes as a Kubernetes quantity."""
    return f"{round(gigabytes * 1000)}M"


def selector(labels: Mapping[str, str]) -> str:
    """Return the label selector for the pods with these `labels`."""
    return ",".join(f"{LABEL}{name}={make_safe_label_value(value)}" for name, value in sorted(labels.items()))


def pod_status(pod: k8s.V1Pod, now: datetime | None = None) -> RunStatus:
    """Return the status of the stage in `pod`, with the cluster's explanation if it failed."""
    ended = terminated(pod)
    reason, message = pod.status.reason or "", join_lines(pod.status.message or "", limit=None)
    explanation = f"{reason}: {message}" if reason and message else reason or message
    if ended and ended.reason == "OOMKilled":
        limit = pod.spec.containers[0].resources.limits["memory"]
        return RunStatus(EXIT_KILLED, f"out of memory: its limit is {limit} (memory_mb in containers/stages.yaml)")
    if reason == "DeadlineExceeded" or (ended and passed_deadline(pod, ended)):
        return RunStatus(EXIT_DEADLINE, f"ended at its deadline of {annotation(pod, DEADLINE)} s")
    if ended:
        return RunStatus(ended.exit_code, explanation if ended.exit_code else "")
    if pod.status.phase in ("Failed", "Succeeded"):
        return RunStatus(EXIT_KILLED, explanation or "the pod ended before its stage did")
    leaving = pod.metadata.deletion_timestamp
    if leaving and (now or datetime.now(UTC)) > leaving + timedelta(seconds=LOST_AFTER_S):
        return RunStatus(EXIT_KILLED, f"its node {pod.spec.node_name or ''} no longer responds")
    return RunStatus()


def terminated(pod: k8s.V1Pod) -> k8s.V1ContainerStateTerminated | None:
    """Return the final state of the stage's container; None while it has not ended."""
    for status in pod.status.container_statuses or ():
        if status.name == CONTAINER and status.state:
            return status.state.terminated
    return None


def passed_deadline(pod: k8s.V1Pod, ended: k8s.V1ContainerStateTerminated) -> bool:
    """Return whether `timeout` ended the stage: by SIGTERM, exit code 124, or by SIGKILL, known by its run time."""
    if ended.exit_code == EXIT_DEADLINE:
        return True
    ran = ended.finished_at - ended.started_at if ended.finished_at and ended.started_at else timedelta()
    return ended.exit_code == EXIT_KILLED and ran >= timedelta(seconds=annotation(pod, DEADLINE))


def annotation(pod: k8s.V1Pod, name: str) -> int:
    """Return a limit from a pod's annotations, seconds; 0 if absent."""
    return int((pod.metadata.annotations or {}).get(name, 0))


def waiting_for(pod: k8s.V1Pod) -> str:
    """Return why a pod is pending, as its scheduler or its node reports; empty if neither does."""
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"no node accepts it: {join_lines(condition.message or condition.reason or '', limit=None)}"
    for status in pod.status.container_statuses or ():
        waiting = status.state.waiting if status.state else None
        if waiting and waiting.message:
            return f"{waiting.reason}: {join_lines(waiting.message, limit=None)}"
    return ""
