"""What a run ran on: versions of the packages its stage needs, the commit, the image, the machine."""

import importlib.metadata
import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any


def describe_environment(stage: str) -> dict[str, Any]:
    """The environment part of a manifest, for a run of `stage` in this process."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": package_versions(stage),
        "revision": revision(),
        "image": os.environ.get("SIM2EDGE_IMAGE"),
    }


def package_versions(extra: str) -> dict[str, str]:
    """Installed versions of what sim2edge requires for itself and for one of its extras."""
    versions = {"sim2edge": importlib.metadata.version("sim2edge")}
    for requirement in importlib.metadata.requires("sim2edge") or []:
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
    """The commit this code is at: `SIM2EDGE_REVISION` in an image, git in a checkout, None elsewhere."""
    named = os.environ.get("SIM2EDGE_REVISION")
    if named:
        return named
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
