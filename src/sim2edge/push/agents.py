"""Describe the package of an agent (`sim2edge device pack`) as a target of the update repository.

    agent = read_agent(Path("agent-0.2.0-aarch64.tar.xz"))      # untrusted input
    repository.publish_agent("canary", agent)

The ring's file names it under its architecture: `{"release": ..., "bundle": ..., "agent-aarch64": "agents/..."}`.
"""

import hashlib
import json
import lzma
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim2edge.errors import BadInput

FOLDER = "agents/"
FIELD = "agent-"
"""Begin of the names of the ring file's fields, followed by the architecture."""
MAX_ABOUT_BYTES = 4096
MAX_BYTES = 2 * 2**30
NAMES = {"version": r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", "arch": r"aarch64|x86_64", "python": r"3\.\d{1,2}"}


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
        return f"{FOLDER}{self.version}-{self.arch}.tar.xz"

    @property
    def custom(self) -> dict[str, str | int]:
        """What the signed target says about it."""
        return {"agent": self.about, "files": self.files, "unpacked": self.unpacked}


def read_agent(file: Path) -> AgentTarget:
    """Read what a package says about itself.

    Raises:
        BadInput: it is not a package of `sim2edge device pack`, or damaged.
    """
    about, files, unpacked = b"", "", 0
    try:
        with tarfile.open(file, "r|xz") as tar:
            for member in tar:
                unpacked += member.size
                content = tar.extractfile(member) if member.name in ("agent.json", "files.json") else None
                if content and member.name == "agent.json":
                    about = content.read(MAX_ABOUT_BYTES)
                elif content:
                    files = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
        found: Any = json.loads(about)
        fields = {name: str(found[name]) for name in NAMES}
    except (tarfile.TarError, lzma.LZMAError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file}: not a package of `sim2edge device pack`: {error}") from error
    for name, pattern in NAMES.items():
        if not re.fullmatch(pattern, fields[name]):
            raise BadInput(f"{file}: agent.json: {name} '{fields[name][:80]}' is not valid")
    if not files or unpacked > MAX_BYTES:
        raise BadInput(f"{file}: it holds no files.json, or more than {MAX_BYTES} bytes")
    return AgentTarget(fields["version"], fields["arch"], about.decode(), files, unpacked, file)


def agent_paths(rings: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the target paths of the agents that rings name."""
    return {path for ring in rings.values() for name, path in ring.items() if name.startswith(FIELD)}
