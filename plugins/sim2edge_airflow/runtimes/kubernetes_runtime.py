"""Run stages as pods of a Kubernetes cluster.

The cluster is the one of the Airflow connection that `[sim2edge] kubernetes_conn_id` names; if the default one,
`kubernetes_default`, is undefined, the cluster that Airflow itself runs in, or that of `~/.kube/config`.
KubernetesPodOperator builds the pod (`pod_spec.py`) and its hook connects. Its `execute` is not used: it would push two
XComs of its own, replace the exit code by a single kind of error, rerun a stage whose pod ended unobserved
(https://github.com/apache/airflow/pull/51158), end the pod of a worker that shuts down
(https://github.com/apache/airflow/issues/21900), and log every line of the stage twice.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, TypeVar

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.cncf.kubernetes.utils.pod_manager import detect_pod_terminate_early_issues
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from kubernetes.client import CoreV1Api, V1Pod
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError
from yaml import YAMLError

from sim2edge.errors import BadInput, Misconfigured, Unavailable
from sim2edge.lines import join_lines
from sim2edge_airflow.connection_fields import KubernetesExtra, check_fields, read_extra
from sim2edge_airflow.connections import get_connection
from sim2edge_airflow.runtimes.pod_spec import (
    ARTIFACT,
    CONTAINER,
    GRACE_S,
    LOST_AFTER_S,
    STARTUP,
    annotation,
    build_pod,
    pod_status,
    selector,
    waiting_for,
)
from sim2edge_airflow.runtimes.process_runtime import LineReader
from sim2edge_airflow.runtimes.runtime import Orphaned, RunStatus, StageJob

POLL_S = 1.0
SOON_S = 0.2
SLOWEST_S = 3.0
"""Maximum seconds between two polls of a pending pod."""
REQUEST_S = 30
"""Timeout of a request, seconds; of one that follows a log: maximum silence before the log is requested again."""
EVENTS_S = 5
"""Seconds between two reads of a pending pod's events: for each, the cluster scans the whole namespace."""
CLOCKS_S = 60
"""Seconds of a log read again when it is resumed, more than clocks differ by; known lines are skipped."""
PATIENCE_S = 120
"""Seconds for which requests to a cluster that does not answer are retried: long enough for a control plane upgrade."""
LAST_LINES_TRIES = 5
TRANSIENT = (409, 429, 500, 502, 503, 504)
FORBIDDEN = (401, 403)

Answer = TypeVar("Answer")


class KubernetesRuntime:
    """Runs stages as pods, see `runtimes.Runtime`. A run is named `<namespace>/<pod>`; the cluster stores its state."""

    name: ClassVar[str] = "kubernetes"
    resumable: ClassVar[bool] = True

    def __init__(self) -> None:
        hook = open_hook()
        self._cluster, self._namespace = connect(hook), default_namespace(hook)
        self._supervisor = os.getppid()

    def find(self, job: StageJob) -> str | None:
        """See `Runtime`."""
        namespace, wanted = self._place(job).settings.kubernetes.namespace, selector(job.owner)
        found = ask(
            f"the pods of {namespace}",
            lambda: self._cluster.list_namespaced_pod(namespace, label_selector=wanted, _request_timeout=REQUEST_S),
        )
        pods = [pod for pod in found.items if not pod.metadata.deletion_timestamp]
        ours = [pod for pod in pods if (pod.metadata.annotations or {}).get(ARTIFACT) == job.labels["artifact"]]
        newest = max(ours, key=lambda pod: pod.metadata.creation_timestamp, default=None)
        for pod in pods:
            if pod is not newest:
                self.cancel(name_run(pod))
        return name_run(newest) if newest else None

    def submit(self, job: StageJob) -> str:
        """See `Runtime`."""
        pod = build_pod(self._place(job))
        namespace = pod.metadata.namespace
        with contextlib.suppress(AlreadyThere):  # created by a request whose answer was lost: the name is unique
            ask(
                f"a pod for {job.stage}",
                lambda: self._cluster.create_namespaced_pod(namespace, pod, _request_timeout=REQUEST_S),
            )
        return name_run(pod)

    def logs(self, run: str) -> Iterator[str]:
        """See `Runtime`; before the first line, yield what a pending pod waits for."""
        yield from self._await_start(run)
        last, failed = "", 0
        while True:
            self._check_supervisor()
            ended = self._has_ended(run)  # read before the log, so that no last line is missed
            try:
                for stamp, line in self._follow(run, last):
                    last, failed = stamp, 0
                    yield line
                    self._check_supervisor()
                complete = True
            except (HTTPError, ApiException) as error:
                refuse_forbidden(error, f"the log of {run}")
                complete, failed = isinstance(error, ApiException) and error.status == 404, failed + 1
            if ended and (complete or failed >= LAST_LINES_TRIES):
                return
            time.sleep(SOON_S if complete else POLL_S)

    def status(self, run: str) -> RunStatus | None:
        """See `Runtime`."""
        pod = self._read(run)
        return pod_status(pod) if pod else None

    def cancel(self, run: str) -> None:
        """See `Runtime`: delete the pod; its stage gets SIGTERM, and SIGKILL `GRACE_S` seconds later."""
        with contextlib.suppress(ApiException, HTTPError):  # `clean` retries
            self._delete(run, GRACE_S, limit_s=4)

    def clean(self, run: str) -> RunStatus | None:
        """See `Runtime`. A pod on a lost node is deleted by force: if it still runs, its artifact does no harm."""
        status = self.status(run)
        if status is None:
            return None
        ask(run, lambda: self._delete(run, GRACE_S))
        until = time.monotonic() + GRACE_S + LOST_AFTER_S
        while seen := self.status(run):
            status = status if status.exit_code is not None else seen
            if time.monotonic() > until:
                ask(run, lambda: self._delete(run, 0))
                break
            time.sleep(SOON_S)
        return status if status.exit_code is not None else RunStatus(128 + 15, "it was ended")

    def _place(self, job: StageJob) -> StageJob:
        """Return the job in the namespace of the connection, unless its settings name one."""
        cluster = job.settings.kubernetes.in_namespace(self._namespace)
        return replace(job, settings=job.settings.model_copy(update={"kubernetes": cluster}))

    def _await_start(self, run: str) -> Iterator[str]:
        logged, pause, next_read = "", SOON_S, time.monotonic() + EVENTS_S
        while (pod := self._read(run)) and pod.status.phase == "Pending" and not pod.metadata.deletion_timestamp:
            self._check_supervisor()
            problem = detect_pod_terminate_early_issues(pod)
            if not problem and time.monotonic() > next_read:
                problem, next_read = self._lacks(run), time.monotonic() + EVENTS_S
            if problem:
                raise BadInput(f"{run} cannot start: {join_lines(problem, limit=None)}")
            why, limit_s = waiting_for(pod), annotation(pod, STARTUP)
            if (datetime.now(UTC) - pod.metadata.creation_timestamp).total_seconds() > limit_s:
                self.cancel(run)
                raise Unavailable(f"{run} did not start in {limit_s} s: {why or 'the cluster gives no reason'}")
            if why and why != logged:
                yield why
                logged = why
            time.sleep(pause)
            pause = min(pause * 1.5, SLOWEST_S)

    def _lacks(self, run: str) -> str:
        """Return the event about a Secret, or a key of one, that does not exist; empty if there is none.

        The pod's status does not report this.
        """
        namespace, name = run.split("/")
        events = ask(
            f"the events of {run}",
            lambda: self._cluster.list_namespaced_event(
                namespace, field_selector=f"involvedObject.name={name}", _request_timeout=REQUEST_S
            ),
        )
        failed = (event.message or "" for event in events.items if event.reason == "FailedMount")
        return next((text for text in failed if "not found" in text or "non-existent" in text), "")

    def _has_ended(self, run: str) -> bool:
        status = self.status(run)
        return status is None or status.exit_code is not None

    def _read(self, run: str) -> V1Pod | None:
        namespace, _, name = run.partition("/")
        try:
            return ask(run, lambda: self._cluster.read_namespaced_pod(name, namespace, _request_timeout=REQUEST_S))
        except Gone:
            return None

    def _follow(self, run: str, last: str) -> Iterator[tuple[str, str]]:
        """Yield the lines later than `last`, each with its time stamp; stamps of one node sort as text."""
        namespace, name = run.split("/")
        recent = {"since_seconds": seconds_since(last) + CLOCKS_S} if last else {}
        response = self._cluster.read_namespaced_pod_log(
            name,
            namespace,
            container=CONTAINER,
            follow=True,
            timestamps=True,
            _preload_content=False,
            _request_timeout=REQUEST_S,
            **recent,
        )
        lines = LineReader()
        with contextlib.closing(response):
            for chunk in response.stream(amt=None):
                yield from later_than(last, lines.feed(chunk))
            yield from later_than(last, lines.end())

    def _delete(self, run: str, grace_s: int, limit_s: float = REQUEST_S) -> None:
        namespace, name = run.split("/")
        try:
            self._cluster.delete_namespaced_pod(name, namespace, grace_period_seconds=grace_s, _request_timeout=limit_s)
        except ApiException as error:
            if error.status != 404:
                raise

    def _check_supervisor(self) -> None:
        if os.getppid() != self._supervisor:
            raise Orphaned("the worker of this task is gone")


class Gone(BadInput):
    """The requested object is not in the cluster."""


class AlreadyThere(BadInput):
    """The object to create exists in the cluster already."""


def open_hook() -> KubernetesHook:
    """Return the hook of the connection that `[sim2edge] kubernetes_conn_id` names, without any request."""
    return KubernetesHook(kubernetes_conn_id=connection_name())


def connection_name() -> str:
    """Return the name of the connection; empty if there is none."""
    return conf.get("sim2edge", "kubernetes_conn_id", fallback=KubernetesHook.default_conn_name)


def connect(hook: KubernetesHook | None = None) -> CoreV1Api:
    """Return a client of the configured cluster, see the module.

    Raises:
        BadInput: no cluster is configured, or the connection is invalid.
        Unavailable: the connection cannot be read.
    """
    check_connection(connection_name())
    with connection_errors():
        return (hook or open_hook()).core_v1_client


def check_connection(name: str) -> None:
    """Check what the hook would ignore or not name: fields that cannot be parsed, and a missing kubeconfig.

    Raises:
        Misconfigured: names the connection and the field.
    """
    if not name:
        return
    try:
        connection = get_connection(name, "kubernetes_conn_id")
    except Unavailable:
        return  # not defined: the hook decides what that means
    check_fields(connection, "kubernetes", KubernetesExtra)
    extra = read_extra(connection)
    path = extra.get("kube_config_path") or extra.get("extra__kubernetes__kube_config_path")
    if path and not Path(str(path)).expanduser().is_file():
        raise Misconfigured(f"connection '{name}': extra.kube_config_path: no such file on this worker: {path}")


def default_namespace(hook: KubernetesHook) -> str | None:
    """Return the namespace of the connection; None if it names none.

    Raises:
        BadInput, Unavailable: see `connect`.
    """
    with connection_errors():
        return hook.get_namespace()


@contextlib.contextmanager
def connection_errors() -> Iterator[None]:
    """Map errors of the hook to one line that names the connection."""
    name = connection_name()
    try:
        yield
    except AirflowNotFoundException:
        raise Unavailable(f"connection '{name}' ([sim2edge] kubernetes_conn_id) is not defined: add it") from None
    except (ConfigException, OSError) as error:
        where = f"the connection {name or '(none)'}, a service account of the cluster, ~/.kube/config"
        raise BadInput(f"no Kubernetes cluster is configured ({where}): {join_lines(error, limit=None)}") from None
    except AirflowException as error:
        raise BadInput(f"connection '{name}': {join_lines(error, limit=None)}") from None
    except (YAMLError, ValueError, TypeError, AttributeError) as error:  # their texts quote the kube_config, a secret
        raise BadInput(f"connection '{name}': its kube_config cannot be parsed ({type(error).__name__})") from None


def ask(what: str, request: Callable[[], Answer]) -> Answer:
    """Send `request` and return the cluster's answer; retry transient errors.

    Raises:
        BadInput: the cluster refuses the request; `Gone` and `AlreadyThere` for two of its reasons.
        Unavailable: it did not answer for `PATIENCE_S` seconds.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return request()
        except (ApiException, HTTPError) as error:
            problem = explain(error, what)
            if not isinstance(problem, Unavailable) or time.monotonic() > until:
                raise problem from None
        time.sleep(POLL_S)


def explain(error: ApiException | HTTPError, what: str) -> BadInput | Unavailable:
    """Return the error to raise for a failed request about `what`."""
    if isinstance(error, HTTPError):
        reason = getattr(error, "reason", None) or error
        return Unavailable(f"the cluster does not answer: {join_lines(reason, limit=None)}")
    reason, message = read_refusal(error)
    if error.status == 404:
        return Gone(f"{what}: {message}")
    if reason == "AlreadyExists":
        return AlreadyThere(f"{what}: {message}")
    if error.status in TRANSIENT or "exceeded quota" in message:
        return Unavailable(f"the cluster cannot provide {what} now: {message}")
    return BadInput(f"the cluster refuses {what}: {message}")


def read_refusal(error: ApiException) -> tuple[str, str]:
    """Return the reason, one word, and the message of the cluster's `Status`; without one, HTTP's status line."""
    try:
        status = json.loads(error.body)
        return str(status.get("reason", "")), join_lines(status["message"], limit=None)
    except (TypeError, ValueError, KeyError, AttributeError):
        return "", f"{error.status} {error.reason}"


def refuse_forbidden(error: ApiException | HTTPError, what: str) -> None:
    """Raise `BadInput` if the cluster denies permission, which no retry overcomes."""
    if isinstance(error, ApiException) and error.status in FORBIDDEN:
        raise explain(error, what) from None


def later_than(last: str, lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield time stamp and text of the lines with a stamp later than `last`."""
    for line in lines:
        stamp, _, text = line.partition(" ")
        if stamp > last:
            yield stamp, text


def seconds_since(stamp: str) -> int:
    """Return whole seconds, rounded up and at least 1, since an RFC 3339 time."""
    return max(1, math.ceil((datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()))


def name_run(pod: V1Pod) -> str:
    """Return the name of the run in `pod`."""
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
