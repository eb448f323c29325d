"""Record the environment of a run: versions of the packages its stage needs, the commit, the image, the machine."""

import importlib.metadata
import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any


def describe_environment(extra: str, distribution: str = "sim2edge") -> dict[str, Any]:
    """Return a manifest's environment, for a run in this process of a stage with this extra of its distribution."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": package_versions(extra, distribution),
        "revision": revision(),
        "image": os.environ.get("SIM2EDGE_IMAGE"),
    }


def package_versions(extra: str, distribution: str = "sim2edge") -> dict[str, str]:
    """Return installed versions of the requirements of sim2edge and a distribution, and of the latter's extra."""
    whose = {"sim2edge", distribution}
    versions = {name: importlib.metadata.version(name) for name in whose}
    for requirement in [each for name in whose for each in importlib.metadata.requires(name) or []]:
        named, _, marker = requirement.partition(";")
        if marker and f'extra == "{extra}"' not in marker:
            continue
        match = re.match(r"[A-Za-z0-9._-]+", named)
        try:
            versions[match[0] if match else named] = importlib.metadata.version(match[0] if match else named)
        except importlib.metadata.PackageNotFoundError:
            continue
    return dict(sorted(versions.items()))


@cache
def revision() -> str | None:
    """Return the commit of this code: `SIM2EDGE_REVISION` in an image, git in a checkout, None elsewhere."""
    named = os.environ.get("SIM2EDGE_REVISION")
    if named:
        return named
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
