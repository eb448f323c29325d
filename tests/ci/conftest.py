"""A small repository with suites of its own, and `ci/` on the path."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "ci"))

SUITES = """
[paths]
bus = ["src/bus.py"]

[need.engine]
command = "echo engine >>ran.log && echo ENGINE=up >engine.env"
minutes = 1
paths = ["ci/engine.sh"]
exports = ["engine.env"]

[need.images]
command = "echo images >>ran.log"
minutes = 1
needs = ["engine"]

[suite.test]
command = "echo test >>ran.log"
minutes = 1
always = true
first = true

[suite.clean]
command = "echo clean >>ran.log"
minutes = 1
paths = ["@bus", "src/clean/**", "!src/clean/*.md"]

[suite.train]
command = "echo train with $ENGINE >>ran.log"
minutes = 1
needs = ["images"]
paths = ["@bus", "src/train/**"]

[suite.drill]
command = "echo drill with $ENGINE >>ran.log"
minutes = 1
needs = ["images"]
paths = ["@bus"]
"""
FILES = ("README.md", "src/bus.py", "src/clean/run.py", "src/clean/notes.md", "src/train/run.py", "ci/engine.sh")


class Repository:
    """A checkout in which suites are planned and run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
        command = ["git", "-C", str(self.root), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def describe(self, suites: str) -> None:
        self.write("ci/suites.toml", suites)
        self.commit()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a change")

    def call(self, *words: str) -> int:
        """Run `suites.py` on this checkout; its exit code."""
        import suites

        return suites.main(words, self.root)

    def recorded(self) -> dict[str, dict[str, object]]:
        """The suites that are recorded as passed."""
        record = self.root / "ci/passed.json"
        return dict(json.loads(record.read_text())) if record.exists() else {}

    def ran(self) -> list[str]:
        """What the commands said since this was asked last."""
        log = self.root / "ran.log"
        said = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return said


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """The repository, in which nothing has passed yet."""
    made = Repository(tmp_path / "repository")
    made.root.mkdir()
    made.git("init", "--quiet")
    made.write(".gitignore", "ran.log\nengine.env\nbuild/\n")
    for path in FILES:
        made.write(path, path)
    made.describe(SUITES)
    return made


@pytest.fixture
def passed(repository: Repository) -> Repository:
    """The repository after all passed, with the record committed."""
    assert repository.call("run") == 0
    repository.ran()
    repository.commit()
    return repository
