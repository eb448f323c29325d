"""Which suites run after which change, and what is recorded of them."""

import json
import os
import re
from pathlib import Path

import pytest

from .conftest import CHECKOUT, SUITES, Repository

EVERYTHING = ["test", "clean", "engine", "images", "train with up", "drill with up"]


def test_at_first_all_run_and_what_they_need_is_done_once(repository: Repository) -> None:
    assert repository.call("run") == 0
    assert repository.ran() == EVERYTHING
    record = json.loads((repository.root / "ci/passed.json").read_text())
    assert record.keys() == {"clean", "train", "drill"}  # what always runs needs no record
    assert record["clean"]["commit"] == repository.git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("path", "ran"),
    [
        ("README.md", ["test"]),
        ("src/clean/notes.md", ["test"]),
        ("src/new.py", ["test"]),
        ("src/clean/run.py", ["test", "clean"]),
        ("src/clean/deep/new.py", ["test", "clean"]),
        ("src/train/run.py", ["test", "engine", "images", "train with up"]),
        ("ci/engine.sh", ["test", "engine", "images", "train with up", "drill with up"]),
        ("src/bus.py", EVERYTHING),
    ],
)
def test_a_change_runs_what_depends_on_it(passed: Repository, path: str, ran: list[str]) -> None:
    passed.write(path, "changed")
    passed.commit()
    assert passed.call("run") == 0
    assert passed.ran() == ran
    passed.commit()
    assert passed.call("run") == 0
    assert passed.ran() == ["test"]


def test_what_did_not_run_is_named_with_the_commit_it_passed_on(
    passed: Repository, capfd: pytest.CaptureFixture[str]
) -> None:
    commit = json.loads((passed.root / "ci/passed.json").read_text())["drill"]["commit"]
    assert passed.call("run") == 0
    assert f"drill            not run: last passed on {commit[:12]}, with the same files" in capfd.readouterr().out


def test_all_and_single_suites_run_whatever_changed(passed: Repository) -> None:
    assert passed.call("run", "--all") == 0
    assert passed.ran() == EVERYTHING
    assert passed.call("run", "drill") == 0
    assert passed.ran() == ["engine", "images", "drill with up"]
    assert passed.call("run", "dril") == 2
    assert passed.ran() == []


@pytest.mark.parametrize(
    ("before", "after", "ran"),
    [
        ("echo clean", "echo  clean", ["test", "clean"]),
        ("echo images", "echo  images", EVERYTHING[:1] + EVERYTHING[2:]),
        ("minutes = 1", "minutes = 2", ["test"]),
    ],
)
def test_another_command_is_another_suite(passed: Repository, before: str, after: str, ran: list[str]) -> None:
    passed.describe(SUITES.replace(before, after))
    assert passed.call("run") == 0
    assert passed.ran() == ran


def test_a_reverted_change_and_a_later_commit_are_the_same_files(passed: Repository) -> None:
    passed.write("src/bus.py", "changed")
    passed.commit()
    passed.write("src/bus.py", "src/bus.py")
    passed.commit()
    assert passed.call("run") == 0
    assert passed.ran() == ["test"]


def test_a_moved_mode_is_a_change(passed: Repository) -> None:
    passed.git("update-index", "--chmod=+x", "src/clean/run.py")
    (passed.root / "src/clean/run.py").chmod(0o755)
    passed.commit()
    assert passed.call("run") == 0
    assert passed.ran() == ["test", "clean"]


def edit(repository: Repository) -> None:
    repository.write("src/clean/run.py", "edited")


def add(repository: Repository) -> None:
    repository.write("src/clean/a new.py", "new")


def add_oddly_named(repository: Repository) -> None:
    (repository.root / "src/clean" / os.fsdecode(b"\xff\n.py")).write_text("new")


def delete(repository: Repository) -> None:
    (repository.root / "src/clean/run.py").unlink()


def move(repository: Repository) -> None:
    repository.git("mv", "src/clean/run.py", "src/clean/walk.py")


@pytest.mark.parametrize("change", [edit, add, add_oddly_named, delete, move])
def test_what_is_not_committed_runs_and_is_not_recorded(passed, change, capfd) -> None:
    before = (passed.root / "ci/passed.json").read_text()
    change(passed)
    assert passed.call("run") == 0
    assert passed.ran() == ["test", "clean"]
    assert re.search(r"clean +passed, \d+ s; not recorded: not committed: src/clean/", capfd.readouterr().out)
    assert (passed.root / "ci/passed.json").read_text() == before


def test_a_suite_that_changes_its_own_files_is_not_recorded(repository: Repository) -> None:
    repository.describe(SUITES.replace("echo clean >>ran.log", "echo clean >>ran.log; echo x >>src/clean/run.py"))
    assert repository.call("run", "clean") == 0
    assert not (repository.root / "ci/passed.json").exists()


def test_a_commit_while_it_runs_is_not_what_ran(repository: Repository) -> None:
    commit = "echo x >src/bus.py; git -c user.name=a -c user.email=a@b commit -qam x"
    repository.describe(SUITES.replace("echo clean >>ran.log", commit))
    assert repository.call("run", "clean") == 0
    assert not (repository.root / "ci/passed.json").exists()


def test_a_failure_is_not_recorded_and_the_others_get_their_turn(
    passed: Repository, capfd: pytest.CaptureFixture[str]
) -> None:
    passed.describe(SUITES.replace("echo clean >>ran.log", "exit 3").replace("drill with", "drill by"))
    assert passed.call("run") == 1
    assert passed.ran() == ["test", "engine", "images", "drill by up"]
    said = capfd.readouterr().out
    assert "FAILED (exit code 3)" in said
    assert said.splitlines()[-1] == "FAILED: clean"
    passed.commit()
    assert passed.call("run") == 1  # it is due until it passes
    assert passed.ran() == ["test"]


@pytest.mark.parametrize(
    ("before", "after", "ran"),
    [("echo test >>ran.log", "false", []), ("echo images >>ran.log", "false", ["test", "clean", "engine"])],
    ids=["a first suite", "what others need"],
)
def test_what_builds_on_a_failure_does_not_begin(repository, before, after, ran) -> None:
    repository.describe(SUITES.replace(before, after))
    assert repository.call("run") == 1
    assert repository.ran() == ran


def test_a_moved_file_that_a_pattern_named_is_an_error(passed: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    passed.git("mv", "src/bus.py", "src/train/bus.py")
    passed.commit()
    assert passed.call("plan") == 2
    assert capsys.readouterr().err == "suites: ci/suites.toml: clean: 'src/bus.py' matches no committed file\n"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"!src/clean/*.md"', '"!src/clean/*.rst"', "clean: '!src/clean/*.rst' matches no committed file"),
        ('"@bus", "src/clean/**"', '"@buss"', "suite.clean: no set of paths '@buss'"),
        ('needs = ["engine"]', 'needs = ["images"]', "need.images: needs itself"),
        ('needs = ["engine"]', 'needs = ["motor"]', "images: no need 'motor'"),
        ("first = true", "frist = true", "suite.test: unknown field 'frist'"),
        ("first = true", "cores = nan", "suite.test.cores: nan is not above 0 and at most 1024"),
        ("minutes = 1\nalways", "minutes = 0\nalways", "suite.test.minutes: 0 is not above 0 and at most 1440"),
        ('paths = ["@bus", "src/train/**"]', "", "train: depends on no file of its own: it would run once and never"),
        ("[suite.test]", '[suite."../test"]', "suite.../test: a name has a-z, 0-9 and '-' only"),
        ("first = true", 'cores = "many"', "suite.test.cores: 'many' has the wrong type"),
        ("always = true", 'always = "yes"', "suite.test.always: 'yes' has the wrong type"),
        ("minutes = 1\nalways", "always", "suite.test: no minutes"),
        ("[suite.test]", "[suite.test", "Expected ']'"),
        ("[need.engine]", "[nead.engine]", "unknown table 'nead'"),
        (SUITES, "", "ci/suites.toml: describes no suite"),
    ],
)
def test_a_wrong_description_is_told_in_one_line(repository, capsys, before, after, message) -> None:
    repository.describe(SUITES.replace(before, after))
    assert repository.call("run") == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert repository.ran() == []


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\n{}", "[]", '{"clean": {"digest": "x"}}'])
def test_a_damaged_record_is_told_in_one_line(passed: Repository, text: str, capsys) -> None:
    passed.write("ci/passed.json", text)
    assert passed.call("run") == 2
    assert capsys.readouterr().err.startswith("suites: ci/passed.json: damaged")


def test_an_odd_name_is_a_path_like_others(passed: Repository) -> None:
    add_oddly_named(passed)
    passed.commit()
    assert passed.call("run") == 0
    assert passed.ran() == ["test", "clean"]
    passed.commit()
    assert passed.call("run") == 0
    assert passed.ran() == ["test"]


def test_outside_of_a_checkout_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = Repository(tmp_path)
    elsewhere.write("ci/suites.toml", SUITES)
    assert elsewhere.call("run") == 2
    assert capsys.readouterr().err.startswith("suites: git ls-tree: fatal: not a git repository")


def test_a_shallow_clone_decides_the_same(passed: Repository, tmp_path: Path) -> None:
    passed.git("clone", "--quiet", "--depth=1", f"file://{passed.root}", str(tmp_path / "clone"))
    clone = Repository(tmp_path / "clone")
    assert clone.call("run") == 0
    assert clone.ran() == ["test"]


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("src/**", "src/a/b.py", True),
        ("src/**", "src.py", False),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/a/b.py", False),
        ("**/run.py", "run.py", True),
        ("**/run.py", "src/a/run.py", True),
        ("**/run.py", "src/rerun.py", False),
        ("a?c.py", "abc.py", True),
        ("a?c.py", "a/c.py", False),
        ("a.py", "aXpy", False),
        ("[a].py", "[a].py", True),
    ],
)
def test_globs(pattern: str, path: str, matches: bool) -> None:
    from suites import compile_glob

    assert bool(compile_glob(pattern).fullmatch(path)) is matches


def test_the_suites_of_this_repository_can_be_planned(capsys: pytest.CaptureFixture[str]) -> None:
    import suites

    assert suites.main(["plan"]) == 0
    said = capsys.readouterr().out
    for always in ("lint", "test"):
        assert re.search(rf"^run  {always} +always runs$", said, re.MULTILINE)
    assert set(suites.Checkout(CHECKOUT).passed()) <= {suite.name for suite in suites.Checkout(CHECKOUT).plan().suites}


def test_a_suite_that_fails_is_not_recorded_any_more(passed: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    passed.describe(SUITES.replace("echo clean >>ran.log", "exit ${CODE:-0}"))
    assert passed.call("run", "clean") == 0
    assert "clean" in passed.recorded()
    monkeypatch.setenv("CODE", "1")
    assert passed.call("run", "clean") == 1
    assert "clean" not in passed.recorded()


@pytest.mark.parametrize("who", ["suite.test", "need.engine"])
def test_what_began_on_other_files_is_not_recorded(repository: Repository, who: str) -> None:
    """Somebody else changes a file before a step begins, and takes the change back before the suite ends."""
    name = who.partition(".")[2]
    described = SUITES.replace(f"echo {name} >>ran.log", "echo changed >src/bus.py")
    described = described.replace('paths = ["ci/engine.sh"]', 'paths = ["ci/engine.sh", "@bus"]')
    repository.describe(described.replace("echo train with $ENGINE >>ran.log", "git checkout -q src/bus.py"))
    repository.call("run", "test", "train")
    assert "train" not in repository.recorded()


def test_nothing_is_recorded_by_a_description_that_is_not_committed(repository: Repository) -> None:
    repository.write("ci/suites.toml", SUITES.replace("[suite.clean]", "[suite.clean]\nretry = true"))
    assert repository.call("run", "clean") == 0
    assert repository.recorded() == {}


def test_two_runs_in_one_checkout_are_refused(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    import suites

    with suites.Checkout(repository.root).alone():
        assert repository.call("run", "clean") == 2
    assert capsys.readouterr().err == "suites: another run is under way in this checkout\n"
    assert repository.call("run", "clean") == 0
