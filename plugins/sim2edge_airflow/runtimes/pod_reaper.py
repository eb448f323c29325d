"""Remove orphaned pods of this deployment; `container_reaper.py` decides which, as for containers.

A pod whose worker was killed, and whose task is not retried, ends at its deadline but would be listed for ever.
"""

import contextlib
from datetime import UTC, datetime

from kubernetes.client import CoreV1Api, V1Pod

from sim2edge.stages import stage_names
from sim2edge_airflow.deployment_settings import read_deployment, read_runtime, read_stage
from sim2edge_airflow.runtimes.container_reaper import Container, StatesOfRuns, find_orphaned
from sim2edge_airflow.runtimes.kubernetes_runtime import (
    REQUEST_S,
    Gone,
    ask,
    connect,
    default_namespace,
    name_run,
    open_hook,
)
from sim2edge_airflow.runtimes.pod_spec import GRACE_S, LABEL, selector, terminated


def reap_pods(states_of: StatesOfRuns, dry_run: bool = False) -> list[str]:
    """Remove orphaned pods, and return a line for each.

    Args:
        states_of: returns the states of Airflow's tasks.
        dry_run: list what would be removed, and remove nothing.

    Raises:
        Unavailable: the cluster does not answer.
        BadInput: Airflow is not permitted to list or delete pods.
    """
    hook, now = open_hook(), datetime.now(UTC)
    cluster = connect(hook)
    pods = [pod for namespace in namespaces(default_namespace(hook)) for pod in list_pods(cluster, namespace)]
    orphaned = find_orphaned([describe_pod(pod, now) for pod in pods], states_of)
    for pod, _ in orphaned:
        if not dry_run:
            delete_pod(cluster, pod.id)
    return [f"{'would remove' if dry_run else 'removed'} {pod.id} ({pod.status}): {reason}" for pod, reason in orphaned]


def namespaces(of_connection: str | None) -> list[str]:
    """Return the namespaces of stage pods, by the settings and the connection; empty if no stage runs in a cluster.

    Raises:
        BadInput: the runtime is unknown, or the stages file is invalid.
    """
    default = read_runtime()
    settings = [read_stage(stage, tag="any") for stage in stage_names()]
    clusters = [
        each.kubernetes.in_namespace(of_connection) for each in settings if (each.runtime or default) == "kubernetes"
    ]
    return sorted({each.namespace for each in clusters})


def list_pods(cluster: CoreV1Api, namespace: str) -> list[V1Pod]:
    """Return the pods of this deployment that are not being deleted already."""
    ours = selector({"deployment": read_deployment()})
    found = ask(
        f"the pods of {namespace}",
        lambda: cluster.list_namespaced_pod(namespace, label_selector=ours, _request_timeout=REQUEST_S),
    )
    return [pod for pod in found.items if not pod.metadata.deletion_timestamp]


def describe_pod(pod: V1Pod, now: datetime) -> Container:
    """Return the properties of a pod that decide whether it is orphaned.

    A pod without a node is pending, not `created`: its task enforces the startup limit.
    """
    annotations = pod.metadata.annotations or {}
    labels = {name.removeprefix(LABEL): value for name, value in annotations.items() if name.startswith(LABEL)}
    ended = terminated(pod)
    since = ended.finished_at if ended else pod.metadata.creation_timestamp
    over = pod.status.phase in ("Succeeded", "Failed")
    return Container(
        id=name_run(pod),
        labels=labels,
        status=pod.status.phase.lower(),
        age_s=(now - pod.metadata.creation_timestamp).total_seconds(),
        ended_s=(now - since).total_seconds() if over else None,
    )


def delete_pod(cluster: CoreV1Api, run: str) -> None:
    """Delete a pod with its grace period; ignore one that is gone already."""
    namespace, name = run.split("/")
    with contextlib.suppress(Gone):
        ask(
            run,
            lambda: cluster.delete_namespaced_pod(
                name, namespace, grace_period_seconds=GRACE_S, _request_timeout=REQUEST_S
            ),
        )
