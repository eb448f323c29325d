"""Show whether the bucket does everything that the bus relies on (docs/s3.md).

    sim2edge check              a table: ok, or what is wrong
    sim2edge check --json       the same as one JSON object

With the keys of the environment, which may be those of any role that commits something. It takes some seconds, writes
13 MB and about a thousand objects to conditions/check/, and deletes them. Exit code 2: something is wrong.
"""

import argparse
import json
from collections.abc import Sequence

from rich.table import Table

from sim2edge.bucket import S3Access, open_bucket, read_bucket
from sim2edge.bucket_check import Result, check_bucket, check_usable
from sim2edge.errors import EXIT_BAD_INPUT
from sim2edge.progress import print_whole
from sim2edge.s3_access import find_access

PATIENCE_S = 30.0
"""Seconds after which a request is given up."""


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge check ...` and return the exit code.

    Raises:
        BadInput: the bucket does not exist, or the keys may not use it.
        Unavailable: the server does not answer.
    """
    parser = argparse.ArgumentParser(
        prog="sim2edge check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    read_bucket()
    access = find_access(S3Access())
    store = open_bucket(PATIENCE_S, access)
    check_usable(store, access.source)
    results = list(check_bucket(store))
    endpoint, bucket = store.config.get("endpoint", "AWS"), store.config["bucket"]
    print_json(endpoint, bucket, results) if arguments.json else print_table(endpoint, bucket, results)
    return EXIT_BAD_INPUT if any(result.problem for result in results) else 0


def print_json(endpoint: str, bucket: str, results: Sequence[Result]) -> None:
    """Print the results as one JSON object."""
    checks = [{"check": result.name, "ok": not result.problem, "problem": result.problem} for result in results]
    whole = not any(result.problem for result in results)
    print(json.dumps({"endpoint": endpoint, "bucket": bucket, "ok": whole, "checks": checks}))


def print_table(endpoint: str, bucket: str, results: Sequence[Result]) -> None:
    """Print a line for each check, and one that sums them up."""
    table = Table(box=None, pad_edge=False, title=f"bucket {bucket} on {endpoint}", title_justify="left")
    table.add_column("check")
    table.add_column("result")
    for result in results:
        table.add_row(result.name, result.problem or "ok")
    print_whole(table)
    wrong = sum(bool(result.problem) for result in results)
    print(f"{wrong} of {len(results)} are wrong: sim2edge cannot use this server (docs/s3.md)" if wrong else "all ok")
