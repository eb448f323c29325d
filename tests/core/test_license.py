"""The license that the metadata names is in the repository, word for word, and goes into every image and wheel."""

import hashlib
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
STANDARD = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of the text at https://www.apache.org/licenses/LICENSE-2.0.txt."""


def test_the_license_is_the_standard_text_of_the_one_that_is_declared():
    assert tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"
    assert hashlib.sha256((CHECKOUT / "LICENSE").read_bytes()).hexdigest() == STANDARD


@pytest.mark.parametrize(
    "path", ["containers/Dockerfile", "containers/webots/Dockerfile", "scripts/wheel.sh", ".dockerignore"]
)
def test_what_builds_the_package_takes_the_license_along(path):
    text = (CHECKOUT / path).read_text()
    assert "LICENSE" in text
