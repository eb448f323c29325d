"""What every image of ours has to be, read from the Dockerfile: pinned, non-root, labelled, without fetched scripts."""

import re
import tomllib
from pathlib import Path

import pytest

from sim2edge import declaration
from sim2edge.discovery import DISTRIBUTION, distribution_name
from sim2edge.stage_commands import image_list
from sim2edge.stages import installed

CHECKOUT = Path(__file__).parents[2]
PARENTS = {stage.name: stage.image.parent for stage in installed() if distribution_name(stage.name) == DISTRIBUTION}
OTHERS = ("device", "device-tflite", "airflow", "mlflow", "s3", "engine-proxy")
IMAGES = (*PARENTS, *OTHERS)
SERVICES = ("device", "device-tflite", "mlflow", "s3", "engine-proxy")
TEXT = (CHECKOUT / "containers/Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Instruction and its words, continued lines joined, comments dropped."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in joined.splitlines() if line.strip()]


def read_stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Name of a stage to what it is made from and its own instructions."""
    stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            source, name = re.fullmatch(r"(?:--platform=\S+ )?(\S+) AS (\S+)", rest).groups()
            stages[name] = (source, [])
        elif name:
            stages[name][1].append((word, rest))
    return stages


STAGES = read_stages()


def chain(stage: str) -> list[tuple[str, str]]:
    """The instructions of a stage after those of what it is made from."""
    source, own = STAGES[stage]
    return (chain(source) if source in STAGES else []) + own


def image(name: str) -> list[tuple[str, str]]:
    """The instructions of an image, from its base on."""
    own = [(word, rest.replace("${IMAGE}", name)) for word, rest in STAGES["image"][1]]
    if name in PARENTS:
        return chain(PARENTS[name]) + STAGES["stage-packages"][1] + own
    return chain(f"{name}-packages") + own


def last(name: str, instruction: str) -> str | None:
    return next((rest for word, rest in reversed(image(name)) if word == instruction), None)


def test_the_base_is_pinned_by_digest_in_one_place():
    arguments = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)
    assert re.fullmatch(r"python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", arguments["BASE_IMAGE"])
    assert arguments["BUILD_IMAGE"] == "${BASE_IMAGE}"
    assert TEXT.count("sha256:") == 1
    outside = {source for source, _ in STAGES.values() if source not in STAGES}
    assert outside == {
        "${BASE_IMAGE}",
        "${BUILD_IMAGE}",
        "${WHEELHOUSE_IMAGE}",
        "${PACKAGES}-packages",
        "${PARENT}",
        "scratch",
    }


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_nobody_in_particular(name):
    assert last(name, "USER") == "10001:10001"
    assert last(name, "ENTRYPOINT").startswith('["tini", "-g", "--"')
    assert last(name, "CMD").startswith("[")


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_says_what_it_is(name):
    labels = " ".join(rest for word, rest in image(name) if word == "LABEL")
    assert f'title="sim2edge {name}"' in labels
    for label in ("source", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert ("ENV", "SIM2EDGE_REVISION=${REVISION}") in image(name)


@pytest.mark.parametrize("name", IMAGES)
def test_the_code_comes_after_all_that_is_installed(name):
    own = image(name)
    code = own.index(("COPY", "--from=code /opt/sim2edge /opt/sim2edge"))
    assert not [rest for _, rest in own[code:] if "install.sh" in rest]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_says_whether_it_is_well(name):
    assert last(name, "HEALTHCHECK")


def test_nothing_is_fetched_and_run():
    assert not re.search(r"curl|wget|\blatest\b|ADD http|git clone", TEXT)


def test_old_engines_can_build_it():
    assert not re.search(r"#\s*syntax=|<<|COPY --link|--build-context", TEXT)


def test_no_tool_and_no_list_of_packages_stays():
    for _, rest in ((word, rest) for word, rest in instructions() if word == "RUN" and "apt-get" in rest):
        assert "--no-install-recommends" in rest
        assert "rm -rf /var/lib/apt/lists/*" in rest
    assert "FROM tools AS device-fetched" in TEXT
    for name in IMAGES:
        assert "/opt/tools" not in " ".join(rest for word, rest in image(name) if word == "COPY")


def test_the_list_of_images_is_that_of_the_declarations():
    assert (CHECKOUT / "containers/images.json").read_text() == image_list() + "\n", "run `make image-list`"


def test_the_parents_that_a_declaration_may_name_exist():
    assert set(declaration.PARENTS) <= set(STAGES)


@pytest.mark.parametrize("name", PARENTS)
def test_a_stage_comes_on_top_of_a_group_that_is_there(name):
    assert PARENTS[name] in STAGES


def test_bake_and_the_scripts_know_every_image():
    for path in ("containers/bake.hcl", "scripts/images.sh", "scripts/test_images.sh", "scripts/sbom.py"):
        text = (CHECKOUT / path).read_text(encoding="utf-8")
        assert not [name for name in OTHERS if name not in text], path
        assert "STAGES" in text or "containers/images.json" in text, path
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    assert f'variable "VERSION" {{ default = "{version}" }}' in (CHECKOUT / "containers/bake.hcl").read_text()


def test_the_tools_are_those_of_the_environments():
    uv = re.search(r"uv_version=(\S+)", (CHECKOUT / "scripts/install.sh").read_text())[1]
    setuptools = re.search(r"^setuptools==(\S+)", (CHECKOUT / "requirements-stages.txt").read_text(), re.MULTILINE)[1]
    assert f"ARG UV_VERSION={uv}\n" in TEXT
    assert f"ARG SETUPTOOLS_VERSION={setuptools}\n" in TEXT


def test_what_the_images_are_made_of_is_let_in_and_nothing_else():
    ignored = (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert f"!{source.partition('/')[0]}" in ignored, source
