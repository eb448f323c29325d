"""Run the stages of sim2edge and look after its bus, stack and devices.

usage:
    sim2edge <stage> [--partition BATCH] [--preset NAME] [--input ROLE=REFERENCE]... [key=value]...
    sim2edge <command> ...

stages (sim2edge <stage> --help: inputs, every field of the config, examples):
    capture, ingest, clean, augment, train, validate, export, push; `sim2edge stages` lists the installed ones

commands (sim2edge <command> --help):
    ls, show, lineage, cost, compare         list artifacts; print a manifest, its origin, cost; compare two
    note ARTIFACT [--name ...] [--star]      name, star, describe or archive an artifact
    coco ARTIFACT FOLDER                     write frames or a dataset as COCO: pictures and annotation files
    reproduce                                run a stage again from a manifest and compare
    gc [--policy FILE], reindex              delete leftovers, retire old artifacts; index unlisted ones
    config, schema                           fields of a stage's config; JSON schema of a manifest
    summarize [BATCH]                        how the episodes of a batch went
    stages [--json]                          list the installed stages
    retrain --reason "..." | --list          submit a request for a training; list requests
    convert BATCH FOLDER --to FORMAT         write a batch as a LeRobot dataset or a tub of donkeycar
    withdraw BATCH --reason "..."            use a batch no more, roll back, erase; list what derives from it
    up, down, status, env, demo              the local stack; a demonstration of the whole loop
    hold --reason "..." [--wait], resume     pause every DAG for maintenance, and go on
    trigger DAG --partition BATCH            start a run of a DAG; `airflow ...` is Airflow's own command line
    check [--json]                           whether the S3 server does what the bus relies on
    access ..., s3 serve | check             keys and policies; the S3 server on its own
    ota ..., device ...                      the update repository; a device: run it, enrol it, revoke it
    webots selftest | world                  check capture in Webots; write a world to look at
    compose ..., engine-proxy                the system in containers (docker-compose.yaml)

example:
    sim2edge capture --partition demo-1 --preset demo
    sim2edge clean --partition demo-1 height=72 width=96
    sim2edge lineage refs/models/champion

exit codes:
    0 done, or already committed; 1 `reproduce` found a difference; 2 bad config or bad input; 3 refused by a gate;
    75 a service is unavailable, or another writer was faster. All but 0, 2 and 3 may be retried.
"""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sim2edge.discovery import find_entry
from sim2edge.errors import EXIT_BAD_INPUT, EXIT_RETRY, BadInput, Conflict, Terminated, Unavailable
from sim2edge.lines import join_lines
from sim2edge.manifest import split_reference
from sim2edge.numerics import pin_code_paths
from sim2edge.progress import emit, make_progress
from sim2edge.secrets_file import load_secrets_file
from sim2edge.stage import load_function
from sim2edge.stages import get_stage

if TYPE_CHECKING:
    from sim2edge.bus import Bus
    from sim2edge.plan import Plan
    from sim2edge.stage import Stage

COMMANDS = {
    **dict.fromkeys(("ls", "show", "lineage", "cost", "compare", "reproduce", "reindex"), "sim2edge.inspect_bus:main"),
    **dict.fromkeys(("config", "schema"), "sim2edge.inspect_bus:main"),
    **dict.fromkeys(("up", "down", "status", "env"), "sim2edge.stack.commands:main"),
    "airflow": "sim2edge.stack.airflow_command:main",
    "trigger": "sim2edge.stack.trigger_command:main",
    **dict.fromkeys(("hold", "resume"), "sim2edge.stack.hold_commands:main"),
    "retrain": "sim2edge.retrain_commands:main",
    "gc": "sim2edge.gc_commands:main",
    "check": "sim2edge.check_command:main",
    "note": "sim2edge.note_commands:main",
    "coco": "sim2edge.coco_command:main",
    "withdraw": "sim2edge.withdraw_commands:main",
    "convert": "sim2edge.convert.commands:main",
    "stages": "sim2edge.stage_commands:main",
    "summarize": "sim2edge.capture.batch_summary:main",
    "access": "sim2edge.stack.access_commands:main",
    "s3": "sim2edge.services.s3_commands:main",
    "demo": "sim2edge.demo.run:main",
    "ota": "sim2edge.push.commands:main",
    "device": "sim2edge.device_command:main",
    "engine-proxy": "sim2edge.engine_proxy.commands:main",
    "compose": "sim2edge.compose.commands:main",
    "webots": "sim2edge.capture.webots.commands:main",
}
VERB_IS_ARGUMENT = {
    "sim2edge.inspect_bus:main",
    "sim2edge.stack.commands:main",
    "sim2edge.stack.hold_commands:main",
}

EXIT_REFUSED = 3
EXIT_INTERRUPTED = 130
PERMANENT_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
"""File errors that no retry fixes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__, end="")
        return 0 if arguments else EXIT_BAD_INPUT
    return guard(lambda: _load_and_dispatch(arguments))


def _load_and_dispatch(arguments: Sequence[str]) -> int:
    load_secrets_file(os.environ)
    return dispatch(arguments)


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that the first word of the command line names."""
    verb, *rest = arguments
    if verb not in COMMANDS:
        if find_entry(verb) is None:
            raise BadInput(f"'{verb}' is not a command; see sim2edge --help")
        return run_stage(verb, rest)
    target = COMMANDS[verb]
    code: int = load_function(target)([verb, *rest] if target in VERB_IS_ARGUMENT else rest)
    return code


def guard(command: Callable[[], int]) -> int:
    """Run `command`; map every expected error to one line and its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return command()
    except BadInput as error:
        return _fail(str(error), EXIT_BAD_INPUT)
    except (Unavailable, Conflict) as error:
        return _fail(str(error), EXIT_RETRY)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno is None or error.errno not in PERMANENT_ERRNOS:
            raise
        where = error.filename or "the scratch folder (SIM2EDGE_SCRATCH)"
        return _fail(f"{where}: {os.strerror(error.errno).lower()}", EXIT_BAD_INPUT)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sim2edge"):
            raise
        return _fail(
            f"package '{error.name}' is not installed here: install the extra this command needs", EXIT_BAD_INPUT
        )
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)


def _terminate(number: int, _frame: object) -> None:
    raise Terminated(128 + number)


def _fail(message: str, code: int) -> int:
    line = join_lines(message, limit=None)
    if not sys.stdout.isatty():
        emit("error", message=line, code=code)
    print(f"sim2edge: {line}", file=sys.stderr)
    return code


def stage_parser(name: str) -> argparse.ArgumentParser:
    """Build the parser with the options that every stage takes; its help is the stage's (`stage_help.py`)."""
    from sim2edge.alternates import has_own_ref
    from sim2edge.stage_help import StageParser

    stage = get_stage(name)
    parser = StageParser(stage)
    parser.add_argument("--partition", help="the batch id")
    parser.add_argument("--preset", default=os.environ.get("SIM2EDGE_PRESET"), help="a file of conf/, without .yaml")
    for option, metavar, what in (
        ("--input", "ROLE=REFERENCE", "artifact to read: a reference, a ref or an id; repeatable"),
        ("--no-input", "ROLE", "leave this optional input empty; repeatable"),
    ):
        parser.add_argument(option, action="append", default=[], metavar=metavar, help=what)
    parser.add_argument("--expect", metavar="REFERENCE|PLAN", help="fail unless this is the result")
    if has_own_ref(stage):
        what = "take the place of the batch's data made with other settings"
        parser.add_argument("--replace", action="store_true", help=what)
    if stage.gather:
        parser.add_argument("--shard", metavar="N/M", help="do only this share of the work, such as 3/8")
        parser.add_argument("--gather", metavar="M", help="combine M committed shards into the artifact")
    words = "folder | key=value" if takes_folder(stage) else "key=value"
    parser.add_argument("override", nargs="*", metavar=words, help="fields of the config, see below")
    return parser


def takes_folder(stage: "Stage") -> bool:
    """Return whether the command line may name a folder, which the stage delivers to the inbox."""
    return bool(stage.source and stage.source.deliver)


def split_folder(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Separate the folder to deliver, if any, from the `key=value` words: no key contains a slash.

    Raises:
        BadInput: two words are folders.
    """
    folders = [word for word in words if "=" not in word or "/" in word.partition("=")[0]]
    if len(folders) > 1:
        raise BadInput(f"'{folders[1]}': a second folder: '{folders[0]}' is given already")
    return next(iter(folders), None), [word for word in words if word not in folders]


def deliver(bus: "Bus", name: str, arguments: argparse.Namespace) -> list[str]:
    """Deliver the folder that the command line names, if any, to the inbox.

    Returns:
        the overrides among the words.

    Raises:
        BadInput: no batch is named, it is withdrawn, or the folder cannot be delivered.
    """
    from sim2edge.config import load
    from sim2edge.withdrawal import Withdrawn

    stage = get_stage(name)
    folder, overrides = split_folder(arguments.override)
    if folder is not None:
        if arguments.partition is None:
            raise BadInput(f"{name}: --partition is missing: name the batch")
        config = load(stage.config, name, arguments.preset, overrides)
        Withdrawn(bus).check_batch(name, arguments.partition)
        with make_progress(name) as progress:
            load_function(str(stage.source and stage.source.deliver))(
                bus, arguments.partition, Path(folder), config, progress
            )
    return overrides


def parse_inputs(words: Sequence[str], empty: Sequence[str] = ()) -> dict[str, list[str]]:
    """Parse `role=reference` words; a role may be repeated, or be among the `empty` ones.

    Raises:
        BadInput: a word has no `=`, or a role is both given and empty.
    """
    inputs: dict[str, list[str]] = {role: [] for role in empty}
    for word in words:
        role, equals, name = word.partition("=")
        if not equals or not role or not name:
            raise BadInput(f"--input '{word}': expected role=reference")
        if role in empty:
            raise BadInput(f"--input '{word}': contradicts --no-input {role}")
        inputs.setdefault(role, []).append(name)
    return inputs


def plan_stage(bus: "Bus", name: str, arguments: argparse.Namespace) -> "Plan":
    """Plan the run that the command line describes, and check it against `--expect`.

    Raises:
        BadInput: see `plan.plan`, or the plan is not the expected one, or `--partition` would be ignored.
    """
    from sim2edge import plan
    from sim2edge.expectation import check_expected, parse_expectation

    inputs = parse_inputs(arguments.input, arguments.no_input)
    cut = {option: getattr(arguments, option, None) for option in ("shard", "gather")}
    replace = getattr(arguments, "replace", False)
    overrides = deliver(bus, name, arguments) if takes_folder(get_stage(name)) else arguments.override
    planned = plan.plan(bus, name, arguments.partition, arguments.preset, overrides, inputs, **cut, replace=replace)
    if arguments.expect is None:
        check_partition_counts(planned, arguments.partition, inputs)
    else:  # a scheduler names its run's batch, which may differ from the inputs'
        check_expected(planned, parse_expectation(arguments.expect))
    return planned


def check_partition_counts(planned: "Plan", partition: str | None, given: Collection[str]) -> None:
    """Check that `--partition`, if given, selects an input or the partition of the artifact.

    Raises:
        BadInput: it would be ignored, as the stage files under the latest partition among its inputs.
    """
    filed_under = split_reference(planned.reference)[1]
    defaults = (what.default or "" for role, what in planned.stage.inputs.items() if role not in given)
    if partition not in (None, filed_under) and not any("{partition}" in default for default in defaults):
        name = planned.stage.name
        raise BadInput(f"{name}: --partition {partition}: its inputs are of {filed_under}: use that, or omit it")


def run_stage(name: str, argv: Sequence[str]) -> int:
    """Run `sim2edge <stage> ...`: produce the artifact, or find it committed."""
    from sim2edge import runner
    from sim2edge.bus import Bus

    arguments = stage_parser(name).parse_intermixed_args(argv)
    pin_code_paths()
    bus = Bus.from_environment()
    planned = plan_stage(bus, name, arguments)
    cached = planned.manifest is not None
    with make_progress(name) as progress:
        manifest = runner.execute(bus, planned, progress)
    if sys.stdout.isatty():
        print(f"{manifest.reference}  {'cached, saved' if cached else 'made in'} {manifest.cost.wall_s:.1f} s")
    else:
        emit(
            "committed",
            reference=manifest.reference,
            cached=cached,
            seconds=manifest.cost.wall_s,
            summary=manifest.summary,
        )
    if manifest.refused:
        return _fail(f"refused: {manifest.refused}", EXIT_REFUSED)
    return 0
