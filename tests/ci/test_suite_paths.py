"""What a suite's files import when they are loaded is among the files that the suite says it depends on.

Imports inside of functions, programs and images are not followed: for those the description has to be believed.
"""

import ast
from collections.abc import Collection, Iterator, Mapping

import pytest
from suites import Checkout, Plan, depends_on

from .conftest import CHECKOUT

ROOTS = (["src"], ["plugins"], ["dags"], ["tests"], ["ci"], [])


@pytest.fixture(scope="module")
def checkout() -> tuple[Plan, set[str]]:
    """The suites, and every committed file."""
    found = Checkout(CHECKOUT)
    return found.plan(), set(found.blobs())


def loaded(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement imports when its file is loaded, and those of a stage's hooks."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
        yield statement.module
        yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
    elif isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
        for keyword in statement.value.keywords:
            if isinstance(keyword.value, ast.Constant) and keyword.arg != "entry" and ":" in str(keyword.value.value):
                yield str(keyword.value.value).partition(":")[0]


def files_of(name: str, committed: Collection[str]) -> Iterator[str]:
    """The file of a module of this repository, with those of the packages it is in."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        for root in ROOTS:
            path = "/".join([*root, *parts[:length]])
            yield from (file for file in (f"{path}.py", f"{path}/__init__.py") if file in committed)


def read_imports(committed: Collection[str]) -> dict[str, set[str]]:
    """What each Python file of this repository loads of it."""
    found = {}
    for path in committed:
        if path.endswith(".py"):
            statements = ast.parse((CHECKOUT / path).read_text()).body
            names = (name for statement in statements for name in loaded(statement))
            found[path] = {file for name in names for file in files_of(name, committed)}
    return found


def reached(starts: Collection[str], imports: Mapping[str, set[str]]) -> set[str]:
    """Every file that is loaded with others."""
    found: set[str] = set()
    waiting = set(starts) & imports.keys()
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting |= new
    return found


def test_suites_depend_on_what_their_files_import(checkout: tuple[Plan, set[str]]) -> None:
    plan, committed = checkout
    imports = read_imports(committed)
    for suite in plan.suites:
        paths = depends_on(plan, suite, committed)
        outside = reached(paths, imports) - paths
        assert not outside, f"ci/suites.toml: {suite.name} lacks {outside}"


def test_what_the_default_tests_leave_out_is_some_suites(checkout: tuple[Plan, set[str]]) -> None:
    """`make test` always runs; slow tests, and those that need an engine or a browser, have to run with a suite."""
    plan, committed = checkout
    others = [suite for suite in plan.suites if not suite.name.startswith("image-")]  # the default tests, elsewhere
    covered = set().union(*(depends_on(plan, suite, committed) for suite in others))
    for path in committed - covered - {"tests/ci/test_suite_paths.py"}:
        if path.startswith("tests/") and path.endswith(".py"):
            text = (CHECKOUT / path).read_text()
            assert not any(f"mark.{mark}" in text for mark in ("slow", "engine", "browser")), path
