"""Bills of materials from what an image says of itself: valid, stable, and refused when they are not valid."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import sbom

IMAGE = {
    "Id": "sha256:" + "a" * 64,
    "Created": "2026-11-01T10:20:30.123456789Z",
    "Config": {"Labels": {"org.opencontainers.image.version": "0.1.0"}},
}
INSTALLED = {
    "python": {
        "Some_Package": ["1.0", "MIT"],
        "other": ["2.0", "a text\nof many lines"],
        "third": ["3.0+cpu", "Apache-2.0 OR MIT"],
    },
    "debian": [["libc6", "2.36-9+deb12u14", "amd64"]],
    "distro": "debian-12",
}


@pytest.fixture(scope="module")
def text() -> str:
    return sbom.render(sbom.describe("train", IMAGE, INSTALLED))


def test_it_is_valid_and_names_everything(text):
    sbom.check(text)
    content = json.loads(text)
    assert {component["purl"] for component in content["components"]} == {
        "pkg:pypi/some-package@1.0",
        "pkg:pypi/other@2.0",
        "pkg:pypi/third@3.0%2Bcpu",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12",
    }
    described = content["metadata"]["component"]
    assert (described["type"], described["name"], described["version"]) == ("container", "sim2edge/train", "0.1.0")


def test_the_same_image_gives_the_same_file(text):
    assert sbom.render(sbom.describe("train", IMAGE, INSTALLED)) == text


def test_what_breaks_the_schema_is_refused(text):
    content = json.loads(text)
    content["components"][0]["type"] = "a thing"
    with pytest.raises(sbom.Unusable, match="not valid CycloneDX"):
        sbom.check(json.dumps(content))


def test_no_engine_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("DOCKER", "no-such-docker")
    assert sbom.main(["train", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
