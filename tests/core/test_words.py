"""The project speaks in the field's terms: the old private ones are gone from code, docs, pages and logs."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("src", "plugins", "dags", "benchmarks", "scripts", "ci")
TEXTS = ("docs", "plugins", "conf", "containers", "dags")
SUFFIXES = (".md", ".html", ".yaml", ".yml", ".cfg")

NAMES = re.compile(
    "(MOST|LONGEST|LARGEST|SHORTEST|LEAST)_.*|_?settle.*|.*decisive|.*glimpse.*|_?rehears.*|.*complain(t|ts)?|"
    "unwell.*|quiet_s|longest_wait_minutes|.*doom(ed)?|served_by|is_sound|_?mend(ed)?|_?told|recipe_file|read_recipe"
)
"""Identifiers that once were private terms; `mended` and `recipe` alone are words, these were names."""
WORDS = re.compile(
    r"\b(decisive|glimpses?|rehears(e|es|ed|al)|complaints?|unwell|doom(ed)?|mend(s|ed|ing)?|quiet_s|recipe file|"
    r"settles? (the|a) (verdict|artifact|batch)|whoever comes by|is told|are told)\b",
    re.IGNORECASE,
)


def words_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every line of prose of a file: in Python its strings and comments, elsewhere all."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text().splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.start[0], token.string


def python_files() -> list[Path]:
    return [
        path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in path.parts
    ]


@pytest.mark.parametrize("folder", CODE)
def test_no_identifier_is_an_old_private_term(folder):
    found = [
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for path in python_files()
        if path.relative_to(ROOT).parts[0] == folder
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        if token.type == tokenize.NAME and NAMES.fullmatch(token.string)
    ]
    assert found == []


def test_no_prose_has_an_old_private_term():
    texts = [path for folder in TEXTS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES]
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]}"
        for path in [*python_files(), *texts, ROOT / "README.md", ROOT / "airflow.cfg"]
        for line, text in words_of(path)
        for match in WORDS.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("old", "is_name"),
    [("MOST_BYTES", True), ("settle", True), ("glimpse", True), ("decisive", True), ("told", True), ("mend", True)],
)
def test_what_must_be_refused_is(old, is_name):
    assert bool(NAMES.fullmatch(old)) is is_name


def test_what_is_ordinary_is_not_refused():
    assert not any(map(NAMES.fullmatch, ("MAX_BYTES", "almost", "post_commit", "pending", "amend_path")))
    assert not WORDS.search("the robot settles on its wheels; an amended recipe says more")


def test_the_glossary_lists_the_words_of_our_own():
    text = (ROOT / "docs" / "architecture.md").read_text().partition("## Glossary")[2]
    words = re.findall(r"^\| ([a-z, -]+) \|", text, re.MULTILINE)
    assert {"artifact", "manifest", "plan", "cache key", "cached", "post-commit hook", "dry run", "recipe"} <= set(
        words
    )
