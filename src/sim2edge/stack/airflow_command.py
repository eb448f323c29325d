"""Run Airflow's own command line on the Airflow of the running local stack.

    sim2edge airflow backfill create --dag-id sim_capture --from-date 2026-01-01 --to-date 2026-01-30 --dry-run
    sim2edge airflow dags list

It has the environment of the stack's own processes: their settings, database and keys. All words after `airflow` are
Airflow's, and so is the exit code; `sim2edge airflow <command> --help` describes one.
"""

import os
from collections.abc import Sequence
from typing import NoReturn

from sim2edge.errors import EXIT_BAD_INPUT, BadInput, Unavailable
from sim2edge.private_files import OTHERS
from sim2edge.stack.airflow_services import airflow_environment
from sim2edge.stack.client import Stack
from sim2edge.stack.credentials import load_credentials
from sim2edge.stack.settings import check_interpreters, load_settings


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge airflow ...`: replace this process by Airflow's command line; return only for `--help`.

    Raises:
        BadInput: the stack has no Airflow, or its environment is missing.
        Unavailable: no stack is running.
    """
    if argv and argv[0] not in ("-h", "--help"):
        replace_process(argv)
    print(__doc__, end="")
    return 0 if argv else EXIT_BAD_INPUT


def replace_process(argv: Sequence[str]) -> NoReturn:
    """Run Airflow's command line with the environment of the running stack, in place of this process.

    Raises:
        BadInput: the stack has no Airflow, or its environment is missing.
        Unavailable: no stack is running.
    """
    stack = Stack(load_settings({}))
    if not stack.running():
        raise Unavailable("the stack does not run: start it with `sim2edge up`")
    settings = stack.settings
    if "airflow" not in settings.only:
        raise BadInput("the running stack has no Airflow: `sim2edge down`, then `sim2edge up` without --only")
    check_interpreters(settings)
    os.umask(OTHERS)  # Airflow's command line may write logs
    command = [str(settings.airflow_python), "-m", "airflow", *argv]
    os.execve(command[0], command, airflow_environment(settings, load_credentials(settings.home)))  # noqa: S606
