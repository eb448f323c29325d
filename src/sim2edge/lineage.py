"""Trace lineage: ancestors and descendants of an artifact, and the devices that run them.

sim2edge lineage <artifact> [--down] [--json]
sim2edge lineage devices/pi-9
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from rich.tree import Tree

from sim2edge.bus import Bus
from sim2edge.catalog import Catalog, made_from, walk
from sim2edge.errors import Corrupt, NotFound
from sim2edge.fleet import list_devices, read_device, read_fleet
from sim2edge.manifest import Manifest
from sim2edge.progress import PATIENCE_S, print_whole
from sim2edge.stages import kinds


def ancestors(bus: Bus, reference: str) -> dict[str, Manifest]:
    """Return the manifests of an artifact and of all its ancestors, by reference, nearest first.

    Raises:
        Corrupt: one is missing, or is its own ancestor.
    """
    found: dict[str, Manifest] = {}

    def parents(current: str) -> Sequence[str]:
        found[current] = bus.open(current)
        return made_from(found[current].inputs, found[current].parts)

    walk(reference, parents)
    check_circle(found)
    return found


def check_circle(found: Mapping[str, Manifest]) -> None:
    """Check that no artifact is its own ancestor.

    Raises:
        Corrupt: one is; the message names the cycle.
    """
    try:
        TopologicalSorter({name: made_from(each.inputs, each.parts) for name, each in found.items()}).prepare()
    except CycleError as error:
        raise Corrupt(f"{error.args[1][0]}: made from itself: {' of '.join(error.args[1])}") from error


def lineage(arguments: argparse.Namespace) -> int:
    """Run `lineage`: print a tree of ancestors, down to the seeds of the episodes; or the descendants."""
    bus = Bus.from_environment(PATIENCE_S)
    root = find_root(bus, arguments.artifact)
    if arguments.down:
        return print_downstream(downstream(bus, root), arguments.json)
    found = ancestors(bus, root)
    if arguments.json:
        print(json.dumps({reference: _lineage_entry(manifest) for reference, manifest in found.items()}, indent=1))
        return 0
    tree = Tree(_describe(found[root]), highlight=False)
    _grow(tree, found[root], found, {root})
    print_whole(tree)
    return 0


def find_root(bus: Bus, text: str) -> str:
    """Return the artifact that `text` names: a reference, a ref, an id, or `devices/<id>`, the release that it runs.

    Raises:
        NotFound: there is nothing of that name, or the device runs no release.
    """
    if not text.startswith("devices/"):
        return bus.resolve(text)
    device = read_device(bus, text.removeprefix("devices/"))
    if device.release is None:
        raise NotFound(f"{text}: runs no release")
    return bus.resolve(device.release)


def downstream(bus: Bus, reference: str) -> dict[str, list[str]]:
    """Return the descendants of an artifact by kind, in the order of stages, and the devices that run a release of it.

    `devices_before`: those that have one in their other slot, or whose trial of it failed, as far as they report.

    Raises:
        NotFound: the catalog does not list the artifact.
    """
    catalog = Catalog(bus)
    catalog.refresh()
    if catalog.get(reference) is None:
        raise NotFound(f"{reference}: the catalog does not list it (sim2edge reindex adds what is missing)")
    made = catalog.descendants(reference)
    found = {kind: sorted(each for each in made if each.startswith(f"{kind}/")) for kind in kinds()}
    releases = {each.rpartition("/")[2] for each in (reference, *found["release"]) if each.startswith("release/")}
    fleet = read_fleet(bus, list_devices(bus))
    running = [device.device for device in fleet if device.release in releases]
    had = [device.device for device in fleet if releases.intersection(device.had)]
    return {kind: names for kind, names in {**found, "devices": running, "devices_before": had}.items() if names}


def print_downstream(found: dict[str, list[str]], as_json: bool) -> int:
    """Print the result of `downstream`."""
    if as_json:
        print(json.dumps(found, indent=1))
        return 0
    for kind, names in found.items():
        print(f"{kind} ({len(names)})", *names, sep="\n  ")
    if not found:
        print("nothing was made with it")
    return 0


def _lineage_entry(manifest: Manifest) -> dict[str, object]:
    return {
        "stage": f"{manifest.stage} v{manifest.version}",
        "inputs": manifest.inputs,
        "parts": manifest.parts,
        "shard": manifest.shard,
        "config_hash": manifest.config_hash,
        "revision": manifest.environment.get("revision"),
        "seeds": manifest.summary.get("seeds"),
    }


def _grow(tree: Tree, manifest: Manifest, found: dict[str, Manifest], shown: set[str]) -> None:
    above = made_from(manifest.inputs, manifest.parts)
    for reference in above:
        again = reference in shown
        branch = tree.add(reference + "  (above)" if again else _describe(found[reference]))
        if not again:
            shown.add(reference)
            _grow(branch, found[reference], found, shown)
    if not above and (seeds := manifest.summary.get("seeds")):
        for episode, seed in seeds.items():
            tree.add(f"{episode}  seed {seed}")


def _describe(manifest: Manifest) -> str:
    made = f"{manifest.stage} v{manifest.version}, config {manifest.config_hash[:8]}"
    made = f"shard {manifest.shard}, {made}" if manifest.shard else made
    return f"{manifest.reference}  {made}, {manifest.environment.get('revision') or 'no commit'}"
