"""Run the capture stage: episodes in parallel over processes, then their table, picture and summary.

An episode's bytes do not depend on the process: everything is drawn from the episode's own seed. Every
`verify_every`-th episode is captured twice to verify this.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import as_completed

from sim2edge.capture.camera_capture import check_renderer, describe_camera
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.contact_sheet import write_contact_sheet
from sim2edge.capture.workers import Captured, Submit, capture_one, verify_one, worker_pool
from sim2edge.episodes.table import Tallies, summarise, write_table
from sim2edge.stage import Job, Outcome

MAX_ERRORS = 20
"""Largest number of label errors that are logged; all are counted."""


def run(job: Job[CaptureConfig]) -> Outcome:
    """Capture the batch of the job's partition, or the job's share of it.

    Raises:
        BadInput: the config needs rooms that cannot be built, EGL or Webots on a machine without, a policy that cannot
            drive, or another renderer than it declares.
        RuntimeError: a worker process died, or an episode captured twice differed.
    """
    try_policy(job.config)
    check_camera(job.config)
    with worker_pool(job.config, job.partition, job.output, job.scratch) as submit:
        captured = capture_all(job, submit)
        verified = verify(job, submit)
    errors = [line for one in captured for line in one.drive.label_errors]
    for line in errors[:MAX_ERRORS]:
        job.progress.log("a label contradicts geometry", label=line)
    results = [one.result for one in captured]
    write_table(job.output / "aggregated_results.csv", results)
    write_contact_sheet(job.output, results, job.config.episodes)
    tallies = tally(captured, len(errors), verified)
    return Outcome(summarise(results, tallies) | describe_camera(job.config))


def try_policy(config: CaptureConfig) -> None:
    """Load the policy, if one drives, so that an error stops the run before the workers start.

    Raises:
        BadInput: it cannot drive.
    """
    if config.driver.policy:
        from sim2edge.capture.policy_driver import PolicyDriver

        PolicyDriver(config)


def check_camera(config: CaptureConfig) -> None:
    """Check that the declared renderer is available, so that an error stops the run before the workers start.

    Raises:
        BadInput: EGL or Webots is required and not available, or another renderer is in use than declared.
    """
    if config.simulator == "webots":
        from sim2edge.capture.webots.installed import find_webots

        find_webots()
    else:
        check_renderer(config.camera)


def capture_all(job: Job[CaptureConfig], submit: Submit) -> list[Captured]:
    """Capture every episode of this run's share and return them in order."""
    share, captured = job.share(job.config.episodes), dict[int, Captured]()
    futures = {submit(capture_one, index): index for index in share}
    frames = successes = 0
    for future in as_completed(futures):
        one = captured[futures[future]] = future.result()
        frames, successes = frames + one.result.frames, successes + one.result.success
        job.progress.update(len(captured), len(share), frames=frames, success=successes)
    return [captured[index] for index in sorted(captured)]


def verify(job: Job[CaptureConfig], submit: Submit) -> int:
    """Capture some episodes of the share again, compare them, and return their number.

    Raises:
        RuntimeError: one differs.
    """
    share, every = job.share(job.config.episodes), job.config.verify_every
    again = [index for index in share if every and index % every == 0]
    for differs in [future.result() for future in [submit(verify_one, index) for index in again]]:
        if differs:
            raise RuntimeError(f"{differs}: differs when the episode is captured twice from one seed")
    return len(again)


def tally(captured: Sequence[Captured], wrong: int, verified: int) -> Tallies:
    """Add up the counts of the workers."""
    return {
        "boxes": sum((one.drive.boxes for one in captured), Counter[str]()),
        "rooms_rejected": sum((one.rejected for one in captured), Counter[str]()),
        "checks": Counter(frames=sum(one.drive.labels_checked for one in captured), wrong=wrong, episodes=verified),
    }
