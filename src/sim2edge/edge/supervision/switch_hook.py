"""Ask the robot whether now is a good time to switch to another release: it drives, it charges, it is at work.

    hook = SwitchHook(Path("/etc/robot/may-switch"), deadline_s=86_400)
    hook.allows(key, folder)        # at each tick; never blocks

The hook is an executable, which exits with 0 for "now", or any other file, which says "now" by being there. The
executable gets the conditions that the release declares (`switch_when` in its `release.json`) as arguments, for example
`idle charging`; what it prints is dropped. After the deadline the switch is made in any case. Only a switch to a
release on trial is asked for: no roll-back, no cure of a detector that hangs, and no start of a device waits.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Hashable, Sequence
from contextlib import suppress
from pathlib import Path

from sim2edge.edge.events import Repeated, log
from sim2edge.edge.supervision.child_environment import child_environment
from sim2edge.prctl import die_with_parent

ASK_EVERY_S = 5.0
TIMEOUT_S = 10.0
"""An executable that takes longer says "not now"."""
DEADLINE_S = 86_400.0
"""Longest wait for a good time, seconds."""
MAX_CONDITIONS = 16


class SwitchHook:
    """The hook of one device; without a path it always allows."""

    def __init__(self, path: Path | None = None, deadline_s: float = DEADLINE_S) -> None:
        self._path, self._deadline_s = path, deadline_s
        self._repeated = Repeated()
        self._about: Hashable = None
        self._since = 0.0
        self._asked = float("-inf")
        self._process: subprocess.Popen[bytes] | None = None

    def allows(self, about: Hashable, folder: Path) -> bool:
        """Return whether the switch may be made now.

        Args:
            about: what it is a switch to; another one starts the deadline anew.
            folder: where its `release.json` is.
        """
        if self._path is None:
            return True
        now = time.monotonic()
        if about != self._about:
            self._about, self._since, self._asked = about, now, float("-inf")
            self._end()
        if now - self._since >= self._deadline_s:
            log("switches without being allowed", after_s=self._deadline_s)
            self._end()
            return True
        return self._ask(now, folder)

    def _ask(self, now: float, folder: Path) -> bool:
        if self._process is not None:
            return self._answer(now)
        if now - self._asked < ASK_EVERY_S or self._path is None:
            return False
        self._asked = now
        if not os.access(self._path, os.X_OK) or not self._path.is_file():
            return self._path.exists()
        command = [str(self._path), *conditions_of(folder)]
        try:
            self._process = subprocess.Popen(
                command,
                env=child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # it may write without end, and be asked for days
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            self._repeated.log("hook cannot be run", path=str(self._path), error=str(error))
        return False

    def _answer(self, now: float) -> bool:
        code = self._process.poll() if self._process else None
        if code is None and now - self._asked < TIMEOUT_S:
            return False
        if code is None:
            self._repeated.log("hook does not answer", path=str(self._path), after_s=TIMEOUT_S)
        self._end()
        return code == 0

    def _end(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # with what a script has started
            self._process.wait()
            self._process = None


def conditions_of(folder: Path) -> Sequence[str]:
    """Return the conditions for the switch that a release declares; what is none is dropped."""
    try:
        declared = json.loads((folder / "release.json").read_bytes()).get("switch_when", [])
    except (OSError, ValueError, AttributeError, RecursionError):
        return []
    words = [each for each in declared if isinstance(each, str)] if isinstance(declared, list) else []
    return [word[:100] for word in words[:MAX_CONDITIONS] if word and not word.startswith("-")]
