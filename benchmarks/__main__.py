"""Run the measurements and print a report: `python -m benchmarks [NAME...] [--json]`."""

import argparse
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence

from rich.console import Console

from benchmarks.results import Result, make_table
from benchmarks.workplace import Workplace, open_workplace
from sim2edge.numerics import pin_code_paths

NAMES = (
    "overhead",
    "capture",
    "clean",
    "augment",
    "train",
    "detector",
    "ota",
    "fleet_load",
    "rauc",
    "footprint",
    "dags",
    "page",
)


def main() -> int:
    """Run the selected measurements; return 1 if one crashed, however slow the others were, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(NAMES)}; all by default")
    parser.add_argument("--json", action="store_true", help="JSON lines on stdout, the table on stderr")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"'{min(unknown)}' is not one of: {', '.join(NAMES)}")
    pin_code_paths()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # exit, so that the workplace is removed
    start = time.monotonic()
    results: list[Result] = []
    crashed = False
    with open_workplace() as place:
        for name in arguments.names or NAMES:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            try:
                results += measure(place, name, arguments.json)
            except Exception:  # the other measurements go on
                crashed = True
                traceback.print_exc()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    title = f"{len(os.sched_getaffinity(0))} cores, load {load}, {time.monotonic() - start:.0f} s; to repeat a line: "
    title += "python -m benchmarks <first word of its name>"
    Console(stderr=arguments.json, width=None if sys.stdout.isatty() else 200).print(make_table(results, title))
    return int(crashed)


def measure(place: Workplace, name: str, as_json: bool) -> Sequence[Result]:
    """Return the results of one measurement; with `as_json`, print each as a JSON line as it comes."""
    results = []
    for result in importlib.import_module(f"benchmarks.{name}").measure(place):
        results.append(result)
        if as_json:
            print(json.dumps(result.to_json()), flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
