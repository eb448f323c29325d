"""Run the clean stage: episodes in; `frames.parquet`, `quarantine.csv`, `stats.json` and `report.html` out.

Worker processes read the episodes; their frames come back in order, are checked a block at a time and written at
once, so memory does not grow with the batch.
"""

from pathlib import Path

from sim2edge.clean.config import CleanConfig
from sim2edge.clean.data_processor import Task, process_episode
from sim2edge.clean.episodes import choose_episodes, find_scan, read_result
from sim2edge.clean.workers import in_order
from sim2edge.frames.build import stop_if_strict, write_frames
from sim2edge.frames.episode import Scan
from sim2edge.frames.statistics import Statistics
from sim2edge.stage import Job, Outcome

BYTES_A_PROCESS = 64 << 20
"""Size of logs that justifies one more process: starting one costs about as much as reading a part of them."""


def run(job: Job[CleanConfig]) -> Outcome:
    """Clean the frames of one batch.

    Raises:
        BadInput: no episode is usable, or too much of the batch is bad.
    """
    config, folder = job.config, job.input("episodes").folder
    choice = choose_episodes(folder, config, job.partition)
    stop_if_strict(choice.refused, config)
    scan = find_scan(folder, choice.wanted, config, job.partition)
    tasks = [_task(folder / name, config, scan, absent) for name, absent in choice.wanted.items()]
    processes = min(config.workers, 1 + sum(task.log.stat().st_size for task in tasks) // BYTES_A_PROCESS)
    episodes = in_order(process_episode, tasks, processes)
    return Outcome(write_frames(job, episodes, len(tasks), scan, Statistics(choice.failed, choice.refused)))


def _task(folder: Path, config: CleanConfig, scan: Scan | None, absent: frozenset[str]) -> Task:
    result = read_result(folder)
    return Task(folder, result.episode_id, config, scan, absent, result.drive, result.recorded_from_s)
