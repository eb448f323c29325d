"""Run the robot's controller inside Webots, which starts it with the path of `task.json`.

It captures the episode with the same code as every other simulator, writes the outcome, and ends Webots. Errors are
written as one line to `failure.json` and as a traceback to Webots' console.
"""

import importlib
import traceback
from pathlib import Path
from typing import Any

from sim2edge.capture.episode import Outcome, capture_episode
from sim2edge.capture.simulator import Simulator
from sim2edge.capture.webots.observing import Observing
from sim2edge.capture.webots.project import Failure, Project, Task, write_whole
from sim2edge.capture.webots.simulator import WebotsSimulator
from sim2edge.errors import BadInput


def main(task: str) -> int:
    """Run one task and return the exit status for Webots."""
    project = Project(Path(task).parent)
    supervisor = None
    try:
        supervisor = importlib.import_module("controller").Supervisor()
        run_task(project, supervisor)
        status = 0
    except Exception as error:
        traceback.print_exc()
        write_whole(project.failure, Failure(bad_input=isinstance(error, BadInput), message=describe(error)))
        status = 1
    if supervisor is not None:
        supervisor.simulationQuit(status)
    return status


def run_task(project: Project, supervisor: Any) -> None:
    """Capture the episode of a project's task in the world that Webots has loaded."""
    task = Task.model_validate_json(project.task.read_text(encoding="utf-8"))
    simulator: Simulator = WebotsSimulator(task.config, supervisor, lambda _: project.heartbeat.touch())
    observing = Observing(simulator)
    result, drive = capture_episode(
        task.spec, observing if task.observations else simulator, task.config, project.episode
    )
    if task.observations:
        observing.save(project.observations)
    write_whole(project.outcome, Outcome(result=result, drive=drive))


def describe(error: Exception) -> str:
    """Return an error in one line."""
    message = " ".join(str(error).split())
    return message if isinstance(error, BadInput | RuntimeError) else f"{type(error).__name__}: {message}"
