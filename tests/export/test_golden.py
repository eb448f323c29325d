"""The payload of a release, byte for byte: export promises that it follows from the artifact's id."""

import hashlib
import tarfile

import pytest

from sim2edge.export import STAGE
from sim2edge.export.config import ExportConfig
from sim2edge.stage import Job, Outcome

pytestmark = pytest.mark.slow

VERSION = 4
GOLDEN = {
    "MODEL_CARD.md": "f58bb75856513e3b",
    "classes.json": "fa45e58019b690e2",
    "export_report.json": "4b2f14a178feea0c",
    "model.float16.tflite": "cfb2c2ae37bf782d",
    "model.float32.tflite": "ceb00e78b9a59219",
    "model.int8.tflite": "264713c2c95e02e8",
    "model.onnx": "b5c5c1ce112b695e",
    "model.tflite": "264713c2c95e02e8",
    "model.torchscript": "cd518e3b4f01b7a8",
    "self-test-1.jpg": "ab7219abd73167df",
    "self-test-2.jpg": "188745286fb35673",
    "self-test-3.jpg": "3733b2022c27d963",
    "self-test-4.jpg": "ec56d659d97fcc7c",
    "signature.json": "354c851b10d54453",
}
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
