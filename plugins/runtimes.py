"""Where stages run: the interface that a local process, a Docker container and a Kubernetes pod share.

Which one is a setting of the deployment, `[sim2edge] runtime` in airflow.cfg; no DAG knows it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sim2edge.errors import BadInput


@dataclass(frozen=True)
class StageJob:
    """One run of one stage."""

    stage: str
    arguments: Sequence[str]
    """What follows `python -m sim2edge`. Never secrets: they travel in the environment."""
    labels: Mapping[str, str]
    """Whose run it is: dag, run, task, map index, try and artifact; a container or pod is found again by them."""


class Runtime(Protocol):
    """Runs stages. A run is named by a string that survives the process that submitted it."""

    def reattach(self, job: StageJob) -> str | None:
        """The run that an earlier try of this job left behind and that can be waited for; None: submit a new one."""

    def submit(self, job: StageJob) -> str:
        """Start the stage; returns the name of the run."""

    def logs(self, run: str) -> Iterator[str]:
        """The lines the stage prints, as it prints them; ends when the stage has."""

    def poll(self, run: str) -> int | None:
        """The stage's exit code (128 + the signal that ended it); None while it runs."""

    def cancel(self, run: str) -> None:
        """End the stage, gently and then by force, without waiting for it; nothing happens when it has ended."""

    def clean(self, run: str) -> None:
        """Wait for the end of a run that has been cancelled or has ended, and leave nothing of it behind."""


def make_runtime(name: str) -> Runtime:
    """The runtime called `name`.

    Raises:
        BadInput: there is no such runtime.
    """
    runtimes: dict[str, Callable[[], Runtime]] = {"process": _process}
    if name not in runtimes:
        raise BadInput(f"[sim2edge] runtime '{name}' is not one of: {', '.join(runtimes)}")
    return runtimes[name]()


def _process() -> Runtime:
    from process_runtime import ProcessRuntime

    return ProcessRuntime()
