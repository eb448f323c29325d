"""Hold the system for maintenance, and resume it: pause every DAG of ours, with a reason that the pages show.

    sim2edge hold --reason "new disks for S3"            pause; stages that run go on to their end
    sim2edge hold --reason "new disks for S3" --wait     the same, then wait until none runs
    sim2edge hold                                        print whether the system is on hold
    sim2edge resume                                      unpause what the hold has paused

Nothing is lost meanwhile: what a paused DAG misses is started after `resume` (DAG `reconcile`). On the Airflow of the
running local stack; on another if SIM2EDGE_AIRFLOW_URL and SIM2EDGE_AIRFLOW_TOKEN name it. Exit code 2 when the system
is on hold already, or is not.
"""

import argparse
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from sim2edge.errors import BadInput
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.hold import VARIABLE, Hold, begin, parse
from sim2edge.retrain_commands import user
from sim2edge.stack.client import Stack
from sim2edge.stack.settings import load_settings
from sim2edge.stack.trigger_command import find_airflow

POLL_S = 2.0


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge hold ...` or `sim2edge resume`; the first word is the command.

    Raises:
        BadInput: a word is invalid, or the system is on hold already, or is not.
        Unavailable: Airflow does not answer, or no stack is running.
    """
    command, *words = argv
    arguments = parser(command).parse_args(words)
    url, token = find_airflow(Stack(load_settings({})), os.environ)
    client = AirflowClient(url, token=token)
    held = read_hold(client)
    if command == "resume":
        resume(client, held)
    elif arguments.reason is None:
        print(held or "not on hold")
    else:
        hold(client, held, arguments.reason, wait=arguments.wait)
    return 0


def parser(command: str) -> argparse.ArgumentParser:
    """Build the parser of one of the two commands."""
    top = argparse.ArgumentParser(
        prog=f"sim2edge {command}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if command == "hold":
        top.add_argument("--reason", help="one line, shown on the pages; without it, print whether it is on hold")
        top.add_argument("--wait", action="store_true", help="wait until no stage runs")
    return top


def hold(client: AirflowClient, held: Hold | None, reason: str, *, wait: bool) -> None:
    """Pause every active DAG; the record is written first, so that a hold that was interrupted can be resumed.

    Raises:
        BadInput: the system is on hold already, or the reason is no line.
    """
    active = {dag for dag, paused in client.dags("sim2edge").items() if not paused}
    if held and not active & {*held.dags}:  # otherwise it was interrupted
        raise BadInput(f"{held}: `sim2edge resume` ends it")
    new = held or begin(reason, user(), active, datetime.now(UTC))
    client.set_variable(VARIABLE, new.model_dump_json())
    for dag in new.dags:
        client.pause(dag)
    print(f"{new} ({len(new.dags)} DAGs paused)")
    while wait and (running := client.count_tasks("running", "queued")):
        print(f"{running} tasks are still running", flush=True)
        time.sleep(POLL_S)


def resume(client: AirflowClient, held: Hold | None) -> None:
    """Unpause what the hold has paused, and delete its record last.

    Raises:
        BadInput: the system is not on hold.
    """
    if held is None:
        raise BadInput("the system is not on hold")
    known = client.dags("sim2edge")
    for dag in held.dags:
        if dag in known:  # one that was removed meanwhile needs nothing
            client.unpause(dag)
    client.delete_variable(VARIABLE)
    print(f"resumed {len(held.dags)} DAGs; what they missed starts within some minutes")


def read_hold(client: AirflowClient) -> Hold | None:
    """Return the present hold; None when there is none."""
    value = client.variable(VARIABLE)
    return parse(value) if value else None
