"""The image for capture in Webots: pinned, non-root, with the tools of the others, and never built by default."""

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "containers/webots/Dockerfile").read_text(encoding="utf-8")
OTHERS = (CHECKOUT / "containers/Dockerfile").read_text(encoding="utf-8")
BAKE = (CHECKOUT / "containers/bake.hcl").read_text(encoding="utf-8")


def argument(text: str, name: str) -> str:
    return re.search(rf"^ARG {name}=(\S+)$", text, re.MULTILINE)[1]


def test_webots_is_pinned_to_its_release():
    from sim2edge.capture.webots.installed import RELEASE

    assert argument(TEXT, "WEBOTS_IMAGE") == f"cyberbotics/webots:{RELEASE}-ubuntu22.04"
    assert not re.search(r"curl|wget|\blatest\b|ADD http|git clone", TEXT)


def test_the_tools_are_those_of_the_other_images():
    for name in ("UV_VERSION", "SETUPTOOLS_VERSION"):
        assert argument(TEXT, name) == argument(OTHERS, name)


def test_it_runs_as_nobody_in_particular_and_holds_no_tools():
    image = TEXT[TEXT.index("FROM base AS image") :]
    assert "\nUSER 10001:10001\n" in image
    assert 'ENTRYPOINT ["tini", "-g", "--", "sim2edge"]' in image
    assert "/opt/tools" not in image
    for label in ("title", "source", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in image


def test_it_is_a_target_of_its_own():
    default = re.search(r'group "default" \{\s*targets = \[([^\]]*)\]', BAKE)[1]
    assert "webots" not in default
    assert 'dockerfile = "containers/webots/Dockerfile"' in BAKE
