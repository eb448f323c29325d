"""Write the bill of materials of each image, CycloneDX 1.6 JSON: Python packages and Debian packages.

    python scripts/sbom.py                       # every image, into build/sbom/<name>.cdx.json
    python scripts/sbom.py train device --tag 0.1.0 --output /tmp/sbom

Each image lists its own packages, with its Python and dpkg, without a network. Each file is validated against the
CycloneDX schema. The same image gives the same file. Exit code 2: an image is missing, or no engine answers.
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

CHECKOUT = Path(__file__).parents[1]
STAGES = json.loads((CHECKOUT / "containers/images.json").read_text())["variable"]["STAGES"]["default"]
IMAGES = (
    *(stage["name"] for stage in STAGES),
    *("device", "device-tflite", "airflow", "mlflow", "s3", "engine-proxy"),
)
DEFAULT_OUTPUT = CHECKOUT / "build" / "sbom"
NAMESPACE = uuid.UUID("6b7f0f2e-52c5-5cbb-9d3a-0d6a3b1f7a10")
LICENSE_LENGTH = 80
"""A longer license field of a package contains the text of the license instead of its name."""

PROBE = """
import importlib.metadata, json, platform, subprocess
python = {}
for found in importlib.metadata.distributions():
    meta = found.metadata
    python[meta["Name"]] = [found.version, meta.get("License-Expression") or meta.get("License") or ""]
fields = "${Package}\\t${Version}\\t${Architecture}\\n"
listed = subprocess.run(["dpkg-query", "-W", "-f", fields], capture_output=True, text=True).stdout
debian = [line.split("\\t") for line in listed.splitlines()]
release = platform.freedesktop_os_release()
print(json.dumps({"python": python, "debian": debian, "distro": f"{release['ID']}-{release['VERSION_ID']}"}))
"""


class Unusable(Exception):
    """An image or the engine cannot be used; the message is one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files and return the exit code."""
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("images", nargs="*", help="names of images (all)")
    parser.add_argument("--tag", default=os.environ.get("SIM2EDGE_TAG") or version)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder (build/sbom)")
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    try:
        for name in arguments.images or IMAGES:
            image = f"sim2edge/{name}:{arguments.tag}"
            text = render(describe(name, inspect(image), probe(image)))
            check(text)
            path = arguments.output / f"{name}.cdx.json"
            path.write_text(text, encoding="utf-8")
            print(f"{path}: {len(json.loads(text)['components'])} components, valid CycloneDX 1.6")
    except Unusable as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 2
    return 0


def docker(*words: str) -> str:
    """Run a docker command and return its output.

    Raises:
        Unusable: it failed, or docker is not installed.
    """
    try:
        done = subprocess.run(
            [os.environ.get("DOCKER", "docker"), *words], capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(f"docker {words[0]}: {error}") from error
    if done.returncode:
        raise Unusable(f"docker {words[0]}: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout


def inspect(image: str) -> dict[str, Any]:
    """Return the engine's inspection of an image."""
    found: dict[str, Any] = json.loads(docker("image", "inspect", image))[0]
    return found


def probe(image: str) -> dict[str, Any]:
    """Return the packages of an image: `python` (name: version, license), `debian` (name, version, arch), `distro`."""
    locked = ("--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    found: dict[str, Any] = json.loads(docker("run", *locked, "--entrypoint", "python", image, "-c", PROBE))
    return found


def describe(name: str, image: dict[str, Any], installed: dict[str, Any]) -> Bom:
    """Return the bill of materials of an image, from what `inspect` and `probe` found."""
    labels = image["Config"].get("Labels") or {}
    root = Component(
        type=ComponentType.CONTAINER,
        name=f"sim2edge/{name}",
        version=labels.get("org.opencontainers.image.version"),
        bom_ref=image["Id"],
    )
    # Images have nine digits of a second; `fromisoformat` keeps six.
    metadata = BomMetaData(timestamp=datetime.fromisoformat(f"{image['Created'][:19]}+00:00"), component=root)
    components = [python_component(*item) for item in sorted(installed["python"].items())]
    components += [debian_component(fields, installed["distro"]) for fields in sorted(installed["debian"])]
    bom = Bom(metadata=metadata, components=components, serial_number=uuid.uuid5(NAMESPACE, image["Id"]))
    bom.register_dependency(root, components)
    return bom


def python_component(name: str, about: Sequence[str]) -> Component:
    """Return a package of PyPI; `about` is its version and its license field."""
    version, license_name = about
    short = 0 < len(license_name) <= LICENSE_LENGTH and "\n" not in license_name
    purl = PackageURL("pypi", name=name, version=version)
    licenses = [LicenseFactory().make_from_string(license_name)] if short else []
    return Component(name=name, version=version, purl=purl, bom_ref=purl.to_string(), licenses=licenses)


def debian_component(fields: Sequence[str], distro: str) -> Component:
    """Return a package of Debian; `fields` are its name, version and architecture."""
    name, version, architecture = fields
    purl = PackageURL("deb", "debian", name, version, {"arch": architecture, "distro": distro})
    return Component(name=name, version=version, purl=purl, bom_ref=purl.to_string())


def render(bom: Bom) -> str:
    """Return the bill as JSON, indented."""
    text: str = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)
    return text


def check(text: str) -> None:
    """Validate a bill against the schema.

    Raises:
        Unusable: it is not valid.
    """
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error:
        raise Unusable(f"not valid CycloneDX: {' '.join(str(error).split())[:300]}")


if __name__ == "__main__":
    sys.exit(main())
