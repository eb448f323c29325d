"""Run one batch through an Airflow's pipeline and follow it on the terminal: trigger, watch, explain failures.

pipeline = Pipeline(console, AirflowClient(url, user, password), url)
states = pipeline.run("demo-1", "demo", overrides=[])
code = judge(states)
"""

import time
from collections.abc import Mapping, Sequence

from rich.console import Console

from sim2edge.errors import Unavailable
from sim2edge.fleet import Device
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.follow.stages import DECIDER, PIPELINE, Follower, StageState
from sim2edge.follow.view import PipelineView
from sim2edge.manifest import Manifest

PIPELINE_DEADLINE_S = 3600.0
DAGS_DEADLINE_S = 60.0
LOG_LINES = 12
EXIT_FAILED = 1
EXIT_REFUSED = 3


class Pipeline:
    """The pipeline of the Airflow at `url`, shown on `console`."""

    def __init__(self, console: Console, client: AirflowClient, url: str) -> None:
        self._console = console
        self._client = client
        self._url = url

    def run(self, batch: str, preset: str, overrides: Sequence[str]) -> list[StageState]:
        """Trigger a batch and follow it to its end; return the final state of each stage.

        Raises:
            Unavailable: Airflow does not answer, or the deadline passed.
        """
        self._wait_for_dags()
        conf = {"preset": preset, "overrides": list(overrides)}
        run = self._client.trigger("sim_capture", batch, conf)
        self._say(f"triggered sim_capture for batch {batch}: {self._url}/dags/sim_capture/runs/{run}")
        states: list[StageState] = []
        with PipelineView(self._console) as view:
            for states in Follower(self._client, batch, run, conf).states(PIPELINE_DEADLINE_S):
                view.show(states)
        self._explain(states)
        return states

    def _wait_for_dags(self) -> None:
        """Wait until Airflow has parsed every DAG of the pipeline."""
        deadline = time.monotonic() + DAGS_DEADLINE_S
        while True:
            try:
                for dag in (*PIPELINE, DECIDER):
                    self._client.unpause(dag)
                return
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _explain(self, states: Sequence[StageState]) -> None:
        for state in states:
            if state.run and state.state in ("failed", "skipped", "up_for_retry"):
                task = state.task or state.stage
                self._say(f"{task} {state.state}; its log ends with:")
                for line in self._client.log(state.dag, state.run, task, state.attempt)[-LOG_LINES:]:
                    self._say(f"  {line}")

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)


def judge(states: Sequence[StageState]) -> int:
    """Return the exit code for the final states: 0 all succeeded, 1 a stage failed, 3 a gate refused."""
    if all(state.state == "success" for state in states):
        return 0
    return EXIT_FAILED if any("failed" in state.state for state in states) else EXIT_REFUSED


def highlights(manifests: Mapping[str, Manifest], device: Device) -> dict[str, str]:
    """Return the main results of each part, a line each.

    Args:
        manifests: stage name to the artifact's manifest.
        device: the status of a device that runs the release.
    """
    dataset, verdict, release = (manifests[stage].summary for stage in ("augment", "validate", "export"))
    frames = ", ".join(f"{name} {split['frames']}" for name, split in dataset["splits"].items())
    return {
        "dataset": f"frames: {frames}",
        "model": f"floor accuracy {number(verdict['floor_accuracy'])}, obstacle mAP@50 {number(verdict['map_50'])}, "
        f"mAP@50-95 {number(verdict['map_50_95'])}, distance off by {number(verdict['distance_error_m'], 2)} m "
        f"({verdict['frames']} held-out frames)",
        "release": f"{manifests['export'].id}: {release['chosen']}, latency {release['latency']}, "
        f"bundle {release['bundle_bytes'] / 1e3:.0f} kB",
        "device": f"{device.device} in ring {device.ring}: release {device.release}, {device.state}, "
        f"{device.inferences} inferences, {device.errors} errors, {number(device.latency_ms_p50, 2)} ms a frame",
    }


def number(value: float | None, digits: int = 3) -> str:
    """Format a metric; it is undefined with too few held-out frames."""
    return "n/a" if value is None else f"{value:.{digits}f}"
