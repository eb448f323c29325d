"""Create the update repository of the local stack and its signing keys, so that its first release can be pushed."""

import subprocess
import sys

from sim2edge.errors import BadInput
from sim2edge.stack.client import Stack
from sim2edge.stack.client_environment import person_environment
from sim2edge.stack.credentials import load_credentials
from sim2edge.stack.services import plain_environment

DEADLINE_S = 120.0


def init_updates(stack: Stack) -> str:
    """Run `sim2edge ota init` on the stack's bucket and return what it prints; existing keys and metadata stay.

    As a process of its own: the variables of the bucket, with the admin's keys, are not those of this one.

    Raises:
        BadInput: it failed, as when the bucket holds a repository with other keys than those of this folder.
    """
    settings = stack.settings
    environment = plain_environment() | person_environment(settings, load_credentials(settings.home))
    command = [sys.executable, "-m", "sim2edge", "ota", "init"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False, umask=0o077
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        raise BadInput(f"no release can be pushed: {lines[-1].removeprefix('sim2edge: ')}")
    return done.stdout.strip()
