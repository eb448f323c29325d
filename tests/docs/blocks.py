"""Finds the shell blocks of README.md, docs/ and the DAGs' runbooks.

for block in read_blocks():
    print(block.key, block.text)
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SHELL = ("bash", "sh", "shell", "console")
OTHER = ("ini", "json", "mermaid", "python", "text", "toml", "yaml")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
PROGRAMS = ("airflow", "ci/", "curl", "docker", "git", "helm", "kubectl", "make", "pip", "python", "sim2edge")
"""What the lines of a runbook begin with that are commands: the other indented ones are data."""

UNFENCED = re.compile(rf"^ {{3,}}(?:[A-Z0-9_]+=\S* )*(?:{'|'.join(PROGRAMS)})\b.*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block, or the indented commands of a runbook."""

    file: str
    line: int
    language: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """The file, and the first command without its comment."""
        return self.file, re.split(r"\s+#|\s*\\$", self.text.splitlines()[0])[0].strip()


def read_blocks() -> list[Block]:
    """Every fenced block of a page, whatever its language, and every command of a runbook."""
    pages = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
    fenced = [block for page in pages for block in _fenced(page)]
    return fenced + [block for file in sorted((CHECKOUT / "dags").glob("*_dag.py")) for block in _runbook(file)]


def shell_blocks() -> list[Block]:
    return [block for block in read_blocks() if block.language in SHELL]


def unfenced_commands() -> list[str]:
    """Commands on indented lines of a page outside of a fence; `docs/dags.md` is made of the runbooks."""
    pages = [CHECKOUT / "README.md", *{*(CHECKOUT / "docs").glob("*.md")} - {CHECKOUT / "docs" / "dags.md"}]
    texts = {_name(page): FENCE.sub("", page.read_text()) for page in pages}
    return [f"{name}: {match[0].strip()}" for name, text in texts.items() for match in UNFENCED.finditer(text)]


def _fenced(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        indent = match["indent"]
        content = "\n".join(line.removeprefix(indent) for line in match["text"].splitlines())
        yield Block(_name(page), text.count("\n", 0, match.start()) + 1, match["language"], content)


def _runbook(file: Path) -> Iterator[Block]:
    """A block for each indented command: `docs/dags.md` is made of these texts."""
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    for number, line in enumerate(docstring.splitlines(), start=1):
        if line.startswith("    ") and line.strip().startswith(PROGRAMS):
            yield Block(_name(file), number, "bash", line.strip())


def _name(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))
