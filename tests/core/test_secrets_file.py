"""Secrets as a file: what it may hold, that no message says a value, and that programs start with its variables."""

import os
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from sim2edge import secrets_file
from sim2edge.errors import BadInput
from sim2edge.secrets_file import format_secrets, load_secrets_file, parse_secrets, read_role, read_secrets

NAMES = some.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True)
VALUES = some.text(some.characters(exclude_categories=("C", "Z")) | some.just(" "), max_size=60)


def write(folder: Path, text: str, name: str = "secrets.env") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@given(some.dictionaries(NAMES, VALUES))
@example({"QUOTED": '"it\'s"', "HASH": "#a", "EQUALS": "a=b==", "SPACES": " a ", "EMPTY": "", "DOLLAR": "$HOME `x`"})
def test_what_is_written_is_read_unchanged(variables):
    assert parse_secrets(format_secrets(variables)) == variables


@given(some.text(max_size=200))
def test_any_text_is_read_or_refused_by_line_number_without_its_content(text):
    try:
        found = parse_secrets(text)
    except ValueError as error:
        complaint = str(error)
        found = {}
    else:
        complaint = "line "
    assert complaint.startswith("line ")
    assert all(name[0] in string.ascii_uppercase + "_" and "\n" not in value for name, value in found.items())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("A=1\nhunter2\n", "line 2: expected NAME=value"),
        ("=hunter2\n", "line 1: expected NAME=value"),
        ("lower=hunter2\n", "line 1: expected NAME=value"),
        (" A=hunter2\n", "line 1: expected NAME=value"),
        ("export A=hunter2\n", "line 1: expected NAME=value"),
        ("1A=hunter2\n", "line 1: expected NAME=value"),
        ("\n# note\nA=hunter2\nA=hunter2\n", "line 4: A is given twice"),
        ("A=hunter2\r\n", "line 1: the value of A has an unprintable character"),
        ("A=hunter2\0\n", "line 1: the value of A has an unprintable character"),
    ],
)
def test_a_bad_line_is_named_by_number_and_never_shown(tmp_path, text, complaint):
    path = write(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        read_secrets(path)
    assert f"{path}, {complaint}" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("variables", [{"a": "x"}, {"": "x"}, {"A": "x\ny"}, {"A": "x\nB=y"}, {"A\nB": "x"}])
def test_what_would_be_read_otherwise_is_not_written(variables):
    with pytest.raises(ValueError, match="line"):
        format_secrets(variables)


def test_files_that_are_none(tmp_path):
    with pytest.raises(BadInput, match=r"absent.env: cannot read the secrets file: No such file"):
        read_secrets(tmp_path / "absent.env")
    with pytest.raises(BadInput, match="Is a directory"):
        read_secrets(tmp_path)
    with pytest.raises(BadInput, match="larger than 65536 bytes"):
        read_secrets(write(tmp_path, "A=" + "x" * secrets_file.MAX_BYTES))
    (tmp_path / "latin.env").write_bytes(b"A=\xe9\n")
    with pytest.raises(BadInput, match="not UTF-8"):
        read_secrets(tmp_path / "latin.env")


def test_the_file_wins_over_the_environment_and_without_one_nothing_changes(tmp_path):
    environment = {"A": "old", "B": "kept"}
    load_secrets_file(environment)
    assert environment == {"A": "old", "B": "kept"}
    environment["SIM2EDGE_SECRETS_FILE"] = str(write(tmp_path, "A=new\nC=added\n"))
    load_secrets_file(environment)
    assert {environment[name] for name in "ABC"} == {"new", "kept", "added"}


def test_a_role_has_a_file_of_its_own_and_cannot_name_another(tmp_path):
    write(tmp_path, "A=1\n", "train.env")
    assert read_role(tmp_path, "train") == {"A": "1"}
    assert read_role(tmp_path, "clean") == {}
    for role in ("../train", "", "Train", "train/", "a" * 71):
        with pytest.raises(BadInput, match="role"):
            read_role(tmp_path, role)


def run_module(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SIM2EDGE_SECRETS_FILE": str(path)} if path else dict(os.environ)
    return subprocess.run(
        [sys.executable, "-m", "sim2edge.secrets_file", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_foreign_program_starts_with_the_variables(tmp_path):
    path = write(tmp_path, "GREETING=hello there\n")
    ended = run_module("--", "sh", "-c", 'echo "$GREETING"; exit 7', path=path)
    assert (ended.returncode, ended.stdout) == (7, "hello there\n")


def test_a_foreign_program_that_cannot_start_says_so_in_one_line(tmp_path):
    path = write(tmp_path, "A=hunter2\nhunter2\n")
    bad, absent, nothing = run_module("--", "true", path=path), run_module("--", "no-such-program"), run_module()
    assert (bad.returncode, absent.returncode, nothing.returncode) == (2, 127, 2)
    assert bad.stderr.count("\n") == 1
    assert "hunter2" not in bad.stderr
    assert absent.stderr == "sim2edge: cannot start 'no-such-program': No such file or directory\n"
    assert nothing.stderr.startswith("usage:")


def test_the_command_line_reads_the_file_before_all_else(tmp_path):
    path = write(tmp_path, "hunter2\n")
    environment = {**os.environ, "SIM2EDGE_SECRETS_FILE": str(path)}
    command = [sys.executable, "-m", "sim2edge", "schema"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert f"sim2edge: {path}, line 1: expected NAME=value" in ended.stderr
    assert "hunter2" not in ended.stderr + ended.stdout
