"""The page of questions names sixteen, each with a test that exists and that a suite of CI runs."""

import re
import tomllib

import pytest
from docs.blocks import CHECKOUT

ROWS = [
    line.strip("| ").split(" | ")
    for line in (CHECKOUT / "docs" / "questions.md").read_text().splitlines()
    if line.startswith("| [")
]
FAST = ("tests/plugins/", "tests/core/")
SUITES = tomllib.loads((CHECKOUT / "ci" / "suites.toml").read_text())["suite"]


def test_there_are_sixteen_of_airflows_own_issues() -> None:
    links = [re.search(r"\(https://github\.com/apache/airflow/(?:issues|pull)/\d+\)", row[0]) for row in ROWS]
    assert len(ROWS) == len({found[0] for found in links if found}) == 16


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][1:40])
def test_an_answer_is_tried_by_a_test_that_ci_runs(row: list[str]) -> None:
    file, _, name = row[2].strip("`").partition("::")
    assert f"def {name}(" in (CHECKOUT / file).read_text()
    folder = file.rpartition("/")[0]
    assert file.startswith(FAST) or any(
        any(path.startswith((file, folder)) for path in suite.get("paths", [])) for suite in SUITES.values()
    ), "no suite lists it"
