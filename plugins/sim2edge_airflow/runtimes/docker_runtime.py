"""Run stages as containers of the Docker engine of the Docker connection, or of `DOCKER_HOST`.

Labels, not names, tie a container to a task instance. It outlives a killed worker: the next try finds and resumes it.
The task removes it with its volumes when it has ended; the `reap_containers` DAG removes orphaned ones.
`container_spec.py` defines the container. Why Airflow's `DockerOperator` is not used: docs/connections.md.
"""

import contextlib
import logging
import os
import queue
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

import docker
from airflow.sdk.configuration import conf
from docker.errors import APIError, NotFound

from sim2edge.errors import Unavailable
from sim2edge_airflow.connections import docker_connection
from sim2edge_airflow.runtimes.container_spec import (
    LABEL,
    MB,
    SECRETS_FOLDER,
    container_spec,
    owner_filter,
    secret_files,
)
from sim2edge_airflow.runtimes.docker_engine import check_reachable, connect, engine_errors, resolve_image
from sim2edge_airflow.runtimes.docker_logs import LogPosition, Message, in_background, stream_messages
from sim2edge_airflow.runtimes.runtime import VERDICTS, Orphaned, RunStatus, StageJob

log = logging.getLogger(__name__)

TICK_S = 1.0
"""Seconds between two checks, while waiting for a line, whether the worker is alive."""
SILENT_S = 20.0
"""Seconds without a line after which the container's status is read: it may have ended, or the connection be dead."""
PATIENCE_S = 180.0
"""Seconds to wait for an engine that does not answer: its restart should not fail a task."""
END_S = 3.0
"""Seconds a stage gets to end when its task is killed; Airflow forces the task after 5."""
POLL_S = 0.05


class DockerRuntime:
    """Runs stages as Docker containers, see `runtimes.Runtime`. The name of a run is its container's id."""

    name: ClassVar[str] = "docker"
    resumable: ClassVar[bool] = True

    def __init__(self) -> None:
        self._connection = docker_connection()
        self._engine = connect(self._connection)
        self._worker = os.getppid()

    def find(self, job: StageJob) -> str | None:
        """See `Runtime`."""
        with self._errors("the engine"):
            found = self._engine.api.containers(all=True, filters=owner_filter(job.owner))
            states = [self._inspect(each["Id"]) for each in sorted(found, key=lambda each: -each["Created"])]
        chosen = choose_run([state for state in states if state], job.labels["artifact"])
        for state in states:
            if state and state["Id"] != chosen:
                log.info("Removing container %s of an earlier try: %s", short(state["Id"]), describe(state))
                remove_container(self._engine, state["Id"])
        return chosen

    def submit(self, job: StageJob) -> str:
        """See `Runtime`."""
        network = conf.get("sim2edge", "docker_network")
        for endpoint in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "MLFLOW_TRACKING_URI"):
            check_reachable(job.environment.get(endpoint, ""), network)
        image = resolve_image(self._engine, job.settings.image, self._connection)
        with self._errors(f"the container of {job.stage}"):
            run = str(self._engine.api.create_container_from_config(container_spec(job, image, network))["Id"])
            try:
                self._engine.api.put_archive(run, SECRETS_FOLDER, secret_files(job))
                self._engine.api.start(run)
            except BaseException:
                remove_container(self._engine, run)
                raise
        log.info("Container %s of image %s (%s)", short(run), job.settings.image, image)
        return run

    def logs(self, run: str) -> Iterator[str]:
        """See `Runtime`. A broken stream is resumed while the container runs.

        DockerOperator fails the task, and the container runs on: https://github.com/apache/airflow/issues/23159
        """
        position = LogPosition()
        while True:
            yield from position.read(self._follow(run, position.since))
            if self._has_ended(run):
                break
            log.warning("The log of container %s broke off; resuming it", short(run))
        yield from position.read(stream_messages(self._engine, run, position.since, follow=False))
        yield from position.end()

    def status(self, run: str) -> RunStatus | None:
        """See `Runtime`."""
        with self._errors("the engine"):
            state = self._inspect(run)
        return run_status(state) if state else None

    def cancel(self, run: str) -> None:
        """See `Runtime`. It opens its own socket: a signal handler may call it in the middle of any other method."""
        engine = connect(self._connection)
        with self._errors("the engine"), contextlib.suppress(NotFound):
            with contextlib.suppress(APIError):  # it is not running
                engine.api.kill(run, "SIGTERM")
            until = time.monotonic() + END_S
            while engine.api.inspect_container(run)["State"]["Running"] and time.monotonic() < until:
                time.sleep(POLL_S)
            remove_container(engine, run)

    def clean(self, run: str) -> RunStatus | None:
        """See `Runtime`."""
        status = self.status(run)
        if status and status.exit_code is None:
            self.cancel(run)
            return None
        with self._errors("the engine"):
            remove_container(self._engine, run)
        return status

    def _errors(self, what: str) -> contextlib.AbstractContextManager[None]:
        return engine_errors(what, self._connection)

    def _follow(self, run: str, since: str | None) -> Iterator[Message]:
        """Yield the messages of a running container, until it ends or the stream breaks."""
        messages = in_background(stream_messages(self._engine, run, since, follow=True))
        silent_since = time.monotonic()
        while True:
            try:
                message = messages.get(timeout=TICK_S)
            except queue.Empty:
                if os.getppid() != self._worker:
                    raise Orphaned("the worker of this task is gone; its container keeps running") from None
                if time.monotonic() - silent_since > SILENT_S:
                    if self._has_ended(run):
                        return
                    silent_since = time.monotonic()
                continue
            if message is None:
                return
            silent_since = time.monotonic()
            yield message

    def _has_ended(self, run: str) -> bool:
        """Return whether the container has ended or is gone; wait for an engine that does not answer.

        Raises:
            Unavailable: it did not answer in `PATIENCE_S`. The container may still be running.
            Orphaned: see `Runtime.logs`.
        """
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                status = self.status(run)
                return status is None or status.exit_code is not None
            except Unavailable as error:
                if time.monotonic() > until:
                    raise
                log.warning("Waiting: %s", error)
            if os.getppid() != self._worker:
                raise Orphaned("the worker of this task is gone; its container may still be running")
            time.sleep(TICK_S)

    def _inspect(self, run: str) -> dict[str, Any] | None:
        try:
            return dict(self._engine.api.inspect_container(run))
        except NotFound:
            return None


def remove_container(engine: docker.DockerClient, run: str) -> None:
    """Remove a container with its volumes, running or not; ignore one that is gone or being removed already."""
    try:
        engine.api.remove_container(run, v=True, force=True)
    except APIError as error:
        if error.status_code not in (404, 409):
            raise


def choose_run(states: list[dict[str, Any]], artifact: str) -> str | None:
    """Return the container that a new try resumes.

    It makes the same artifact, and is running or has a final exit code.
    """
    for state in states:
        same = state["Config"]["Labels"].get(f"{LABEL}artifact") == artifact
        status = run_status(state)
        if same and (state["State"]["Running"] or status.exit_code in VERDICTS):
            return str(state["Id"])
    return None


def run_status(state: dict[str, Any]) -> RunStatus:
    """Return the status of a run from its container's inspection."""
    if state["State"]["Status"] in ("created", "running", "paused", "restarting"):
        return RunStatus()
    code = int(state["State"]["ExitCode"])
    return RunStatus(code, explain(code, state) if code else "")


def explain(code: int, state: dict[str, Any]) -> str:
    """Return why a container failed, as far as the engine knows; empty if only the stage's output can explain it."""
    labels, how = state["Config"]["Labels"], state["State"]
    stage = labels.get(f"{LABEL}stage")
    if how["OOMKilled"]:
        limit = state["HostConfig"]["Memory"] // MB
        return f"out of memory: limit {limit} MB (containers/stages.yaml, {stage}.memory_mb)"
    deadline = int(labels.get(f"{LABEL}deadline_s", 0))
    if code == 124 or (code == 137 and seconds_run(how) >= deadline):
        return f"it exceeded its deadline in the container, {deadline} s"
    if code in (126, 127):
        return f"its image contains no stage (containers/stages.yaml, {stage}.image)"
    if how["Error"]:
        return str(how["Error"])
    return "killed, but not by its task: by an operator, or with its engine" if code == 137 else ""


def seconds_run(how: dict[str, Any]) -> float:
    """Return how long a container ran, seconds."""
    started, finished = (datetime.fromisoformat(how[when]) for when in ("StartedAt", "FinishedAt"))
    return (finished - started).total_seconds()


def describe(state: dict[str, Any]) -> str:
    """Return a container's status and artifact, for the log."""
    code = "" if state["State"]["Running"] else f" with exit code {state['State']['ExitCode']}"
    return f"{state['State']['Status']}{code}, made for {state['Config']['Labels'].get(f'{LABEL}artifact')}"


def short(run: str) -> str:
    """Return the short form of a container's id, as the docker CLI prints it."""
    return run[:12]
