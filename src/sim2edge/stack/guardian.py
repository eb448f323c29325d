"""Guard the supervisor: however it ends, no process that it started stays.

    python -m sim2edge.stack.guardian [--attached] < settings as JSON

It holds the stack's lock, forks the supervisor and waits. Both are "subreapers", so every orphan below them, daemons
included, becomes their child and is found. If the supervisor is killed, the guardian ends all of them; if the guardian
is killed, the kernel signals the supervisor, which stops everything itself.
"""

import os
import signal
import sys
from collections.abc import Callable

from sim2edge.prctl import adopt_orphans, die_with_parent
from sim2edge.processes import end_descendants
from sim2edge.stack.credentials import load_credentials
from sim2edge.stack.definitions import define_services
from sim2edge.stack.settings import StackSettings
from sim2edge.stack.state import acquire
from sim2edge.stack.supervisor import Supervisor

EXIT_ALREADY_RUNNING = 3


def guard(work: Callable[[], None], grace_s: float = 5.0) -> int:
    """Run `work` in a forked process and return its exit code; then end all descendants, however it ended.

    The rest gets SIGTERM, and `grace_s` later SIGKILL.
    """
    adopt_orphans()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _work(work, parent)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: _forward(child))
    code = _wait(child)
    end_descendants(grace_s)
    return code


def _work(work: Callable[[], None], parent: int) -> None:
    die_with_parent(signal.SIGTERM)
    adopt_orphans()
    code = 1
    try:
        if os.getppid() == parent:
            work()
            code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _forward(child: int) -> None:
    try:
        os.kill(child, signal.SIGTERM)
    except ProcessLookupError:
        return


def _wait(child: int) -> int:
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def main(argv: list[str]) -> int:
    """Take the lock, then guard a supervisor of the services in the settings on standard input."""
    settings = StackSettings.model_validate_json(sys.stdin.readline())
    if acquire(settings.home) is None:
        return EXIT_ALREADY_RUNNING
    services = define_services(settings, load_credentials(settings.home))
    return guard(Supervisor(settings, services, attached="--attached" in argv).run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
