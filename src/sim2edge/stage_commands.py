"""List the installed stages, our own and those of other packages.

    sim2edge stages             # in order: inputs and output of each, and the distribution it comes from
    sim2edge stages --json      # how our images are built: containers/images.json (`make image-list`)

Exit code 2 when a stage cannot be used; the error is on stderr, as are notes about what may be a mistake.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from sim2edge.declaration import notes
from sim2edge.discovery import DISTRIBUTION, distribution_name
from sim2edge.errors import EXIT_BAD_INPUT
from sim2edge.stage import Stage
from sim2edge.stages import installed, problems


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="sim2edge stages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print how our images are built")
    if parser.parse_args(argv).json:
        print(image_list())
    else:
        for stage in installed():
            print(describe(stage))
        for note in notes(installed()):
            print(f"sim2edge: note: {note}", file=sys.stderr)
    for problem in problems():
        print(f"sim2edge: {problem}", file=sys.stderr)
    return EXIT_BAD_INPUT if problems() else 0


def describe(stage: Stage) -> str:
    """Return a stage in one line."""
    reads = ", ".join(dict.fromkeys(each.kind for each in stage.inputs.values())) or "nothing"
    return f"{stage.name:<10} v{stage.version}  {reads} -> {stage.produces}  ({distribution_name(stage.name)})"


def image_list() -> str:
    """Return the list that `containers/bake.hcl` builds the images of our own stages from, as JSON."""
    ours = [stage for stage in installed() if distribution_name(stage.name) == DISTRIBUTION]
    images = [{"name": stage.name, "parent": stage.image.parent, "extra": stage.extra} for stage in ours]
    return json.dumps({"variable": {"STAGES": {"default": images}}}, indent=1)
