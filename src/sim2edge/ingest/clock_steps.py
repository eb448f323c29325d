"""Refuse the clock of a topic that stands still or pauses: pure functions on its times, nanoseconds.

check_advances("/camera", stamps, log_times, max_gap_ns)    # raises BadLog: 60 images in 0 s
check_pauses("/camera", "stamps", times, numbers, max_gap_ns)
"""

import numpy as np

from sim2edge.ingest.clock import Times
from sim2edge.ingest.mcap_reader import BadLog

MIN_ADVANCE = 0.02
"""Least share of the log time by which stamps advance; simulated time is hardly slower."""


def check_advances(topic: str, stamps: Times, logged: Times, max_gap_ns: float) -> None:
    """Check that stamps advance with the log time, of which every pause counts as `max_gap_ns` at most.

    Raises:
        BadLog: they hardly do: they are constant, or not in nanoseconds.
    """
    span = int(np.ptp(stamps))
    passed = float(np.minimum(np.diff(np.sort(logged)), max_gap_ns).sum())
    if span < MIN_ADVANCE * passed:
        raise BadLog(
            f"{topic}: its stamps advance by {span / 1e9:.6f} s in {passed / 1e9:.3f} s of log time: "
            "set the stamp of each image, in nanoseconds"
        )


def check_pauses(topic: str, clock: str, times: Times, numbers: Times, max_gap_ns: float) -> None:
    """Check that no two times in a row are further apart; `numbers` are those of the messages.

    Raises:
        BadLog: two are.
    """
    steps = np.diff(times)
    if (steps > max_gap_ns).any():
        at = int(np.argmax(steps > max_gap_ns))
        raise BadLog(
            f"{topic}: the clock ({clock}) jumps on by {steps[at] / 1e9:.3f} s after message {numbers[at]}: "
            "cut the log there, or raise max_gap_s"
        )
