"""Define the interface of runtimes: local process, Docker container, Kubernetes pod.

The runtime is a setting of the deployment, `[sim2edge] runtime` in airflow.cfg, or of one stage, `runtime` in
containers/stages.yaml; DAGs do not depend on it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from sim2edge_airflow.runtimes.stage_settings import StageSettings

EXIT_BAD_INPUT = 2
EXIT_REFUSED = 3
VERDICTS = (0, EXIT_BAD_INPUT, EXIT_REFUSED)
"""Final exit codes: another run of the stage would end the same way."""


@dataclass(frozen=True)
class StageJob:
    """One run of one stage, with everything a runtime needs."""

    stage: str
    arguments: Sequence[str]
    """The arguments of `sim2edge`. Never secrets: every user of the host can read command lines."""
    labels: Mapping[str, str]
    """The owner of the run: deployment, stage, dag, run, task, map_index, try, artifact; later tries search by them."""
    deadline_s: int
    """Seconds after which the run ends itself, in case its task was killed: more than the task's timeout."""
    settings: StageSettings
    """Image and limits, from containers/stages.yaml."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that are not secret: bucket, endpoint, tracking server, preset."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The stage's credentials, by variable; runtimes store them readable only by the stage."""
    signs: bool = False
    """Whether the stage signs, and therefore receives the keys."""
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The keys of a stage that signs, file name to content."""

    @property
    def owner(self) -> dict[str, str]:
        """The labels shared by all tries of a task instance."""
        return {name: self.labels[name] for name in ("deployment", "dag", "run", "task", "map_index")}


@dataclass(frozen=True)
class RunStatus:
    """The status of a run."""

    exit_code: int | None = None
    """Exit code, or 128 + the signal that ended it; None while it runs or is pending."""
    explanation: str = ""
    """Why it ended, if the runtime knows more than the code, for people: out of memory with the limit, the deadline."""


class Orphaned(Exception):
    """The worker that supervises this task is gone: its result is lost, and its next try may be running."""


class Runtime(Protocol):
    """Runs stages. A run is named by a string that survives the process that submitted it.

    Every method raises `BadInput` for what an operator has to fix first (no such image), and `Unavailable` for what a
    retry may overcome (the engine does not answer); one line each.
    """

    name: ClassVar[str]
    resumable: ClassVar[bool]
    """Whether a run outlives the task that submitted it, so that the next try finds it."""

    def find(self, job: StageJob) -> str | None:
        """Return the run that an earlier try of this job left: running, or ended with a final exit code; else None.

        Other runs left by earlier tries, for another artifact or ended in another way, are removed.
        """

    def submit(self, job: StageJob) -> str:
        """Start the stage and return the name of the run."""

    def logs(self, run: str) -> Iterator[str]:
        """Yield the lines that the stage prints, from the first, as it prints them, until it ends.

        Raises:
            Orphaned: the worker of this task is gone. A resumable run keeps running.
        """

    def status(self, run: str) -> RunStatus | None:
        """Return the status of the run; None if it was removed, or is not a run of this runtime."""

    def cancel(self, run: str) -> None:
        """End the stage, gracefully and then by force, in less than 5 s; do nothing if it has ended."""

    def clean(self, run: str) -> RunStatus | None:
        """End the run if it has not ended, remove all of it, and return its status; None if it was gone already."""
