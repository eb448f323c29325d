"""Inspect and maintain the bus: `sim2edge ls|show|lineage|reproduce|reindex|config|schema`."""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from sim2edge import plan, runner
from sim2edge.bus import Bus, in_threads
from sim2edge.catalog import reindex
from sim2edge.command_help import add_command
from sim2edge.comparison import show_comparison
from sim2edge.config import build
from sim2edge.cost import show_cost
from sim2edge.erasure import erased_names
from sim2edge.errors import BadInput, Corrupt
from sim2edge.lineage import lineage
from sim2edge.manifest import File, Manifest
from sim2edge.numerics import pin_code_paths
from sim2edge.progress import PATIENCE_S, make_progress, print_whole
from sim2edge.reproduce import Made, compare
from sim2edge.shards import parse_shard
from sim2edge.stage import Outcome
from sim2edge.stage_help import describe_fields
from sim2edge.stages import get_stage, kinds, problems, stage_names


def main(argv: Sequence[str]) -> int:
    """Run one of the commands and return its exit code."""
    arguments = parser().parse_args(argv)
    code: int = arguments.run(arguments)
    return code


def parser() -> argparse.ArgumentParser:
    """Build the parser, one subcommand for each command."""
    top = argparse.ArgumentParser(prog="sim2edge")
    verbs = top.add_subparsers(required=True)

    verb = add_command(verbs, "ls", "list artifacts or refs", "sim2edge ls dataset", "sim2edge ls refs")
    verb.add_argument("kind", nargs="?", choices=[*kinds(), "refs"], help="only this kind; default: all artifacts")
    verb.add_argument("--partition", help="only artifacts of this batch")
    verb.set_defaults(run=list_artifacts)

    verb = add_command(verbs, "show", "print the manifest of an artifact", "sim2edge show refs/models/champion")
    verb.add_argument("artifact", help="a reference, a ref or an id")
    verb.set_defaults(run=show)

    what = "compare two artifacts of a kind side by side"
    verb = add_command(verbs, "compare", what, "sim2edge compare refs/models/champion refs/models/accepted")
    verb.add_argument("first", help="a reference, a ref, an id, or devices/<id>")
    verb.add_argument("second", help="the other one")
    verb.add_argument("--all", action="store_true", help="print what is the same, too")
    verb.add_argument("--json", action="store_true", help="print JSON instead of a table")
    verb.set_defaults(run=show_comparison)

    what = "sum up what an artifact took to make, down to the episodes"
    verb = add_command(verbs, "cost", what, "sim2edge cost refs/models/champion")
    verb.add_argument("artifact", help="a reference, a ref, an id, or devices/<id>")
    verb.add_argument("--json", action="store_true", help="print JSON instead of a table")
    verb.set_defaults(run=show_cost)

    examples = ("sim2edge lineage refs/rings/canary", "sim2edge lineage --down refs/batches/demo-1")
    verb = add_command(verbs, "lineage", "print what an artifact was made from, down to the seeds", *examples)
    verb.add_argument("artifact", help="a reference, a ref, an id, or devices/<id>: the release that a device runs")
    verb.add_argument("--json", action="store_true", help="print JSON instead of a tree")
    verb.add_argument("--down", action="store_true", help="print what was made from it, and the devices that run it")
    verb.set_defaults(run=lineage)

    what = "run a stage again from an artifact's manifest and compare; exit code 1 when something differs"
    verb = add_command(verbs, "reproduce", what, "sim2edge reproduce refs/batches/demo-1")
    verb.add_argument("artifact", help="a reference, a ref or an id")
    verb.set_defaults(run=reproduce)

    verb = add_command(verbs, "reindex", "add missing artifacts to the catalog", "sim2edge reindex")
    verb.set_defaults(run=make_catalog)

    what = "print the fields of a stage's config, with defaults and meanings"
    verb = add_command(verbs, "config", what, "sim2edge config train")
    verb.add_argument("stage", help=f"name of a stage: {', '.join(stage_names())}")
    verb.set_defaults(run=show_config)

    verb = add_command(verbs, "schema", "print the JSON schema of a manifest", "sim2edge schema > manifest.schema.json")
    verb.set_defaults(run=show_schema)
    return top


def list_artifacts(arguments: argparse.Namespace) -> int:
    """Run `ls`: print a row for each artifact, oldest first; or the refs."""
    bus = Bus.from_environment(PATIENCE_S)
    table = Table(box=None, pad_edge=False)
    if arguments.kind == "refs":
        for column in ("ref", "artifact", "before"):
            table.add_column(column, overflow="fold")
        for ref in bus.list_refs():
            table.add_row(ref.name, str(ref.target), str(ref.previous or ""))  # a broken one is listed, too
    else:
        for column in ("artifact", "made", "seconds", "MB", "summary"):
            table.add_column(column, overflow="fold")
        erased = erased_names(bus)
        for manifest in bus.manifests(arguments.kind, arguments.partition):
            table.add_row(*_row(manifest, manifest.reference in erased))
    print_whole(table)
    for problem in problems():
        print(f"sim2edge: {problem}", file=sys.stderr)
    return 0


def _row(manifest: Manifest, erased: bool) -> tuple[str, ...]:
    counts = {key: value for key, value in manifest.summary.items() if isinstance(value, int | float | str)}
    words = "refused" if manifest.refused else "  ".join(f"{key}={value}" for key, value in list(counts.items())[:4])
    made = manifest.finished.strftime("%Y-%m-%d %H:%M")
    words = f"shard {manifest.shard}  {words}" if manifest.shard else words
    words = f"erased  {words}" if erased else words
    return manifest.reference, made, f"{manifest.cost.wall_s:.1f}", f"{manifest.size / 1e6:.2f}", words


def show(arguments: argparse.Namespace) -> int:
    """Run `show`: print the manifest as JSON."""
    bus = Bus.from_environment(PATIENCE_S)
    print(bus.open(bus.resolve(arguments.artifact)).to_json().decode())
    return 0


def reproduce(arguments: argparse.Namespace) -> int:
    """Run `reproduce`: run the stage again from the manifest alone and compare; exit 1 when something differs.

    If the stage promises the same bytes, every byte is compared, else the figures that it states tolerances for; the
    output names which. An artifact gathered from shards is produced by one run and has to be the same. The
    manifest's id has to match its content, and the payload on the bus its list of files.
    """
    pin_code_paths()
    bus = Bus.from_environment()
    manifest = bus.open(bus.resolve(arguments.artifact))
    bus.check_not_erased(manifest.reference)
    stage = get_stage(manifest.stage)
    if stage.version != manifest.version:
        raise BadInput(f"{manifest.reference}: made by {stage.name} v{manifest.version}, this is v{stage.version}")
    config = build(stage.config, manifest.config, stage.name)
    shard = parse_shard(manifest.shard) if manifest.shard else None
    if (identity := plan.recorded_id(manifest)) != manifest.id:
        print(f"differs: manifest.json (its id is {manifest.id}, its content gives {identity})")
        return 1
    planned = plan.Plan(stage, config, manifest.inputs, manifest.reference, None, shard=shard)
    recorded = Made([file for file, _ in bus.payload(manifest)], Outcome(manifest.summary, manifest.refused))
    damage = find_damage(bus, manifest)
    scratch = tempfile.TemporaryDirectory(prefix="reproduce-", dir=runner.scratch_folder())
    with scratch as folder, make_progress(stage.name) as progress:
        made = Made(*runner.dry_run(bus, planned, progress, Path(folder)))
    differences, checked = compare(stage.deterministic(config), stage.tolerances, recorded, made)
    differences += [f"damaged: {path} (its bytes on the bus do not match the manifest)" for path in damage]
    for line in differences:
        print(line)
    print(f"{manifest.reference}: compared {checked}")
    return 1 if differences else 0


def find_damage(bus: Bus, manifest: Manifest) -> Sequence[str]:
    """Read every payload file on the bus, parts included; return the paths of missing or changed ones."""

    def is_valid(pair: tuple[File, Manifest]) -> bool:
        found, (file, holder) = hashlib.sha256(), pair
        try:
            for chunk in bus.stream(f"{holder.reference}/{holder.attempt}/{file.path}"):
                found.update(chunk)
        except Corrupt:
            return False
        return found.hexdigest() == file.sha256

    listed = bus.payload(manifest)
    return [file.path for (file, _), valid in zip(listed, in_threads(is_valid, listed), strict=True) if not valid]


def make_catalog(_arguments: argparse.Namespace) -> int:
    """Run `reindex`: write the missing entries of the catalog."""
    print(f"{reindex(Bus.from_environment())} entries written")
    return 0


def show_config(arguments: argparse.Namespace) -> int:
    """Run `config`: print every field of a stage's config with its default and meaning."""
    table = Table(box=None, pad_edge=False)
    for column in ("field", "default", "meaning"):
        table.add_column(column, overflow="fold")
    for name, default, meaning in describe_fields(get_stage(arguments.stage).config()):
        table.add_row(name, default, meaning)
    print_whole(table)
    return 0


def show_schema(_arguments: argparse.Namespace) -> int:
    """Run `schema`: print the JSON schema of `manifest.json`."""
    print(json.dumps(Manifest.model_json_schema(), indent=1))
    return 0
