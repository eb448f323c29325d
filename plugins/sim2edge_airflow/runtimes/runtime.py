"""Where stages run: the interface that a local process, a Docker container and a Kubernetes pod share.

Which one is a setting of the deployment, `[sim2edge] runtime` in airflow.cfg, or of one stage, `runtime` in
containers/stages.yaml; no DAG knows it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from sim2edge_airflow.runtimes.stage_settings import StageSettings

EXIT_BAD_INPUT = 2
EXIT_REFUSED = 3
VERDICTS = (0, EXIT_BAD_INPUT, EXIT_REFUSED)
"""Exit codes that another run of the stage would give again."""


@dataclass(frozen=True)
class StageJob:
    """One run of one stage, and everything a runtime needs to know of it."""

    stage: str
    arguments: Sequence[str]
    """What follows `sim2edge`. Never secrets: they are on command lines, which everybody may read."""
    labels: Mapping[str, str]
    """Whose run it is: deployment, stage, dag, run, task, map_index, try, artifact; it is found again by them."""
    deadline_s: int
    """Seconds after which the run ends itself, should nobody be left to end it: more than its task may take."""
    settings: StageSettings
    """Image and limits, from containers/stages.yaml."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What everybody may read: bucket, endpoint, tracking server, preset."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The stage's credentials, by variable; what holds them is readable by the stage alone."""
    signs: bool = False
    """Whether the stage signs, and so is given the keys."""
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Of a stage that signs: the keys, file name to content."""

    @property
    def owner(self) -> dict[str, str]:
        """The labels that all tries of the same task instance share."""
        return {name: self.labels[name] for name in ("deployment", "dag", "run", "task", "map_index")}


@dataclass(frozen=True)
class RunStatus:
    """How a run is."""

    exit_code: int | None = None
    """128 + the signal that ended it; None while it runs, or waits to be started."""
    explanation: str = ""
    """What the runtime knows of the end beyond the code, for people: out of memory and the limit, the deadline."""


class Orphaned(Exception):
    """The worker that supervises this task is gone: nobody hears it any more, and its next try may be running."""


class Runtime(Protocol):
    """Runs stages. A run is named by a string that survives the process that submitted it.

    Every method raises `BadInput` for what an operator has to mend first (no such image), and `Unavailable` for what
    may be over at the next try (the engine does not answer); one line each.
    """

    name: ClassVar[str]
    resumable: ClassVar[bool]
    """Whether a run outlives the task that submitted it, so that the next try finds it."""

    def find(self, job: StageJob) -> str | None:
        """Return the run that an earlier try of this job left behind.

        It runs, or ended with a verdict; None: submit one.

        Whatever else earlier tries left behind, for another artifact or ended some other way, is removed.
        """

    def submit(self, job: StageJob) -> str:
        """Start the stage; returns the name of the run."""

    def logs(self, run: str) -> Iterator[str]:
        """Return the lines the stage prints, from its first, as it prints them; ends when the stage has.

        Raises:
            Orphaned: see there. A resumable run goes on.
        """

    def status(self, run: str) -> RunStatus | None:
        """Return how the run is; None when nothing of it is left, or when it is no run of this runtime."""

    def cancel(self, run: str) -> None:
        """End the stage, gently and then by force, in less than 5 s; nothing happens when it has ended."""

    def clean(self, run: str) -> RunStatus | None:
        """End the run if it has not ended, leave nothing of it behind; how it ended, None when it was gone already."""
