"""Every picture in the documentation, and every section of measured figures, says which data made it."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
PICTURE = re.compile(r"!\[[^\]]*\]\([^)]+\.(png|jpe?g|svg|gif|webp)\)|<img\b")
MEASURED = re.compile(
    r"^##+ (Measured|Measurements|Speed|Cost|Figures|How fast.*|How it stays fast|Limits of the presets)$"
)
CAPTION = re.compile(r"\*Data: .*\S.*\*")


def without_code(text: str) -> list[str]:
    """The lines of a page, those of code blocks emptied."""
    inside, lines = False, []
    for line in text.splitlines():
        inside ^= line.startswith("```")
        lines.append("" if inside else line)
    return lines


def find_unexplained(text: str) -> list[str]:
    """The pictures and headings that no caption follows: pictures in a row have one together."""
    filled = [line for line in without_code(text) if line.strip()]
    missing = []
    for number, line in enumerate(filled):
        if PICTURE.match(line) or MEASURED.match(line):
            follows = next((each for each in filled[number + 1 :] if not PICTURE.match(each)), "")
            if not CAPTION.match(follows):
                missing.append(line)
    return missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_picture_or_a_measurement_names_its_data(page):
    assert find_unexplained(page.read_text()) == []


def test_every_picture_beside_the_pages_is_on_one():
    texts = "\n".join(page.read_text() for page in PAGES)
    pictures = [path.name for path in (CHECKOUT / "docs").iterdir() if path.suffix in (".png", ".jpg", ".svg")]
    assert [name for name in pictures if f"{name})" not in texts] == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("![a](a.png)\n\nText.", ["![a](a.png)"]),
        ("![a](a.png)", ["![a](a.png)"]),
        ("![a](a.png)\n\n*Data: *", ["![a](a.png)"]),
        ("## Measured\n\n| a | 1 s |", ["## Measured"]),
        ("![a](a.png)\n![b](b.jpg)\n\n*Data: batch `demo-1`.*", []),
        ("## Speed\n\n*Data: batch `demo-1`.*\n\n| a | 1 s |", []),
        ("```\n![a](a.png)\n```", []),
        ("## What is read\n\ntext", []),
    ],
)
def test_what_lacks_a_caption_is_found_and_what_has_one_is_not(text, missing):
    assert find_unexplained(text) == missing
