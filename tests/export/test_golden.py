"""The payload of a release, byte for byte: export promises that it follows from the artifact's id."""

import hashlib
import tarfile

from sim2edge.export import STAGE
from sim2edge.export.config import ExportConfig
from sim2edge.stage import Job, Outcome

VERSION = 2
GOLDEN: dict[str, str] = {}
CONFIG = ("config.yaml", "release.json")
"""Members that hold the config, which is part of the id by itself."""


def test_the_payload_changes_only_with_the_stages_version(released: tuple[Job[ExportConfig], Outcome]) -> None:
    job, _ = released
    found = {
        path.name: path.read_bytes() for path in job.output.rglob("*") if path.is_file() and path.name != "bundle.tar"
    }
    with tarfile.open(job.output / "bundle.tar") as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        found |= {name: file.read() for name, file in members.items() if file and name not in CONFIG}
    digests = {name: hashlib.sha256(data).hexdigest()[:16] for name, data in sorted(found.items())}
    assert STAGE.version == VERSION, "write the new version and the new digests into this file"
    changed = f"the payload changed: raise the version of stage export, or find what is not in its id: {digests}"
    assert digests == GOLDEN, changed
