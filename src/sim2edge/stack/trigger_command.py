"""Start a run of a DAG for one batch, and print its address; its stages then follow each other in Airflow.

    sim2edge trigger sim_capture --partition lab-7 --preset demo capture.episodes=20 clean.width=64
    sim2edge trigger retrain

On the Airflow of the running local stack; on another if SIM2EDGE_AIRFLOW_URL and SIM2EDGE_AIRFLOW_TOKEN name it.
Airflow's own `airflow dags trigger` cannot name a partition.
"""

import argparse
import json
import os
import time
import urllib.error
from collections.abc import Mapping, Sequence
from typing import Any

from sim2edge.config import parse_overrides
from sim2edge.errors import BadInput, Unavailable
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.manifest import check_partition
from sim2edge.stack.client import Stack
from sim2edge.stack.settings import CHECKOUT, load_settings

URL, TOKEN = "SIM2EDGE_AIRFLOW_URL", "SIM2EDGE_AIRFLOW_TOKEN"
TAG, PARSED_S = "sim2edge", 60.0
"""Tag of every DAG of ours; seconds in which Airflow parses their files."""
ANSWERS_LATER = (401, 403, 408, 429)
"""Codes below 500 that do not blame the request."""


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge trigger ...` and return the exit code.

    Raises:
        BadInput: a word is invalid, or Airflow refuses the run: no such DAG, or not with these params.
        Unavailable: Airflow does not answer, or no stack is running.
    """
    arguments = parser().parse_intermixed_args(argv)
    conf = make_conf(arguments.preset, arguments.override, replace=arguments.replace)
    if arguments.partition is not None:
        check_partition(arguments.partition)
    url, token = find_airflow(Stack(load_settings({})), os.environ)
    client = AirflowClient(url, token=token)
    try:
        wait_until_known(client, arguments.dag)
        run = client.trigger(arguments.dag, arguments.partition, conf)
        paused = client.is_paused(arguments.dag)
    except Unavailable as error:
        if reason := read_refusal(error):
            raise BadInput(f"{arguments.dag}: {reason}") from error
        raise
    print(f"{url}/dags/{arguments.dag}/runs/{run}")
    if paused:
        print(f"{arguments.dag} is paused: the run waits until it is unpaused")
    return 0


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge trigger", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("dag", metavar="DAG", help="such as sim_capture")
    top.add_argument("--partition", metavar="BATCH", help="the batch id; without it, for a DAG without partitions")
    top.add_argument("--preset", help="a file of conf/, without .yaml (default: the deployment's)")
    top.add_argument("--replace", action="store_true", help="replace the data of a batch that has other settings")
    top.add_argument("override", nargs="*", metavar="stage.key=value", help="setting of this run and those it starts")
    return top


def make_conf(preset: str | None, overrides: Sequence[str], *, replace: bool) -> dict[str, Any]:
    """Return the params of a run: only what is given, as not every DAG has each.

    Raises:
        BadInput: a word is not `stage.key=value`.
    """
    parse_overrides(overrides)
    for word in overrides:
        if "." not in word.partition("=")[0]:
            raise BadInput(f"'{word}': expected stage.key=value")
    given = {"preset": preset, "overrides": list(overrides), "replace": replace}
    return {name: value for name, value in given.items() if value}


def find_airflow(stack: Stack, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return address and token of the Airflow that the variables name, else of the running stack.

    Raises:
        BadInput: the running stack has no Airflow.
        Unavailable: nothing is named and no stack is running, or its Airflow does not answer.
    """
    url, token = environment.get(URL, "").rstrip("/"), environment.get(TOKEN, "")
    running = stack.running() and "airflow" in stack.settings.only
    if running and url in ("", stack.settings.airflow_url):  # a token in the environment may have expired
        return stack.settings.airflow_url, stack.airflow_token()
    if url and token:
        return url, token
    if stack.running():
        raise BadInput("the running stack has no Airflow: `sim2edge down`, then `sim2edge up` without --only")
    raise Unavailable(f"the stack does not run: start it with `sim2edge up`, or set {URL} and {TOKEN}")


def wait_until_known(client: AirflowClient, dag: str) -> None:
    """Wait until Airflow knows a DAG of this checkout: when it has just started it has yet to parse the files."""
    deadline = time.monotonic() + PARSED_S
    if (CHECKOUT / "dags" / f"{dag}_dag.py").is_file():
        while dag not in client.dags(TAG) and time.monotonic() < deadline:
            time.sleep(0.5)


def read_refusal(error: Unavailable) -> str | None:
    """Return Airflow's reason to refuse a request; None if the error has another cause."""
    cause = error.__cause__
    if not isinstance(cause, urllib.error.HTTPError) or not 400 <= cause.code < 500 or cause.code in ANSWERS_LATER:
        return None
    _, _, body = str(error).partition(": ")
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        return body
    return detail if isinstance(detail, str) else json.dumps(detail)
