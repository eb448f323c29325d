"""Describe the package of an agent (`sim2edge device pack`) as a target of the update repository.

    agent = read_agent(Path("agent-0.2.0-aarch64.tar.zst"))      # untrusted input
    repository.publish_agent("canary", agent)

The ring's file names it under its architecture: `{"release": ..., "bundle": ..., "agent-aarch64": "agents/..."}`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sim2edge.agent_package import ABOUT, FIELD, LISTING, MAX_ABOUT_BYTES, MAX_BYTES, SUFFIX, open_package, parse_about
from sim2edge.errors import BadInput

FOLDER = "agents/"


@dataclass(frozen=True)
class AgentTarget:
    """A package to publish."""

    version: str
    arch: str
    about: str
    """`agent.json`, as text: devices read it before they download the package."""
    files: str
    """SHA-256 of its list of files."""
    unpacked: int
    """Bytes of its files."""
    file: Path

    @property
    def path(self) -> str:
        """Target path of the package."""
        return f"{FOLDER}{self.version}-{self.arch}{SUFFIX}"

    @property
    def custom(self) -> dict[str, str | int]:
        """What the signed target says about it."""
        return {"agent": self.about, "files": self.files, "unpacked": self.unpacked}


def read_agent(file: Path) -> AgentTarget:
    """Read what a package says about itself.

    Raises:
        BadInput: it is not a package of `sim2edge device pack`, or damaged.
    """
    data, files, unpacked = b"", "", 0
    with open_package(file) as members:
        for member, content in members:
            unpacked += member.size
            if content and member.name == ABOUT:
                data = content.read(MAX_ABOUT_BYTES)
            elif content and member.name == LISTING:
                files = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    about = parse_about(data, str(file))
    if not files or unpacked > MAX_BYTES:
        raise BadInput(f"{file}: it holds no files.json, or more than {MAX_BYTES} bytes")
    return AgentTarget(about.version, about.arch, json.dumps(asdict(about)), files, unpacked, file)


def agent_paths(rings: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the target paths of the agents that rings name."""
    return {path for ring in rings.values() for name, path in ring.items() if name.startswith(FIELD)}
