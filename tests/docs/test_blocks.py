"""No command escapes into the documentation untested: each block is run, or is said to be run elsewhere, or why not."""

import re
import tomllib

import pytest
from docs.blocks import CHECKOUT, OTHER, SHELL, read_blocks, shell_blocks, unfenced_commands
from docs.coverage_of_blocks import BLOCKS, By, Excluded, Run

from sim2edge.cli import COMMANDS
from sim2edge.stages import stage_names

SUITES = tomllib.loads((CHECKOUT / "ci" / "suites.toml").read_text())["suite"]
INLINE = re.compile(
    r"`(?:[A-Z0-9_]+=\S* )*(?:\.venvs/stages/bin/)?(?P<program>sim2edge|make) (?P<word>[a-z0-9][a-z0-9-]*)[^`]*`"
)
"""A command in the text: its program, and the word after it."""


def test_every_block_names_its_language() -> None:
    unnamed = [f"{block.file}:{block.line}" for block in read_blocks() if block.language not in (*SHELL, *OTHER)]
    assert not unnamed, f"{unnamed}: after ```, write bash for commands, or one of {OTHER}"


def test_every_command_on_lines_of_its_own_is_in_a_block() -> None:
    assert unfenced_commands() == []


def test_every_shell_block_is_run_or_says_why_not() -> None:
    keys = [block.key for block in shell_blocks()]
    assert len(set(keys)) == len(keys), "two blocks of a page begin with the same command"
    new = [f"{block.file}:{block.line}: {block.key[1]}" for block in shell_blocks() if block.key not in BLOCKS]
    assert not new, f"{new}: add them to tests/docs/coverage_of_blocks.py"
    assert not BLOCKS.keys() - set(keys), "blocks that are no longer there"


def test_what_a_block_is_replaced_in_is_there() -> None:
    for block in shell_blocks():
        how = BLOCKS[block.key]
        for old in how.replace if isinstance(how, Run) else ():
            assert old in block.text, (block.key, old)


@pytest.mark.parametrize("key", [key for key, how in BLOCKS.items() if isinstance(how, By)])
def test_a_test_that_is_said_to_run_a_block_exists(key: tuple[str, str]) -> None:
    how = BLOCKS[key]
    assert isinstance(how, By)
    for name in how.tests:
        assert name in SUITES or (CHECKOUT / name).is_file(), name


def test_a_block_that_is_not_run_has_a_reason() -> None:
    assert all(how.reason for how in BLOCKS.values() if isinstance(how, Excluded))


def test_every_command_and_target_named_in_a_text_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    known = {"sim2edge": {*COMMANDS, *stage_names()}, "make": targets}
    named = [
        (page.name, match["program"], match["word"])
        for page in (CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md"))
        for match in INLINE.finditer(page.read_text())
    ]
    assert len(named) > 100
    assert [each for each in named if each[2] not in known[each[1]]] == []
